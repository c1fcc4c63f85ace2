"""One stream through step processes: its topics, its database, the steps' settings, and what came out."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import fastavro
import pytest

from tests.services.follower import Follower
from tests.services.postgres import Database, connect
from tests.services.topics import COMMITTED, UNCOMMITTED, Message, Received, committed, create_topic, produce, read_all
from tests.step.process.sky import PARTITIONS
from tests.step.process.steps import PATIENCE, Mark, Step, Zygote
from tests.store.databases import KEYS

BATCH = 50
SPILL = 64
"""Messages by which a batch may exceed what it is to hold: those that come while it waits to be processed."""

LASTING = '{"group.instance.id": "a", "session.timeout.ms": 30000}'
"""A member that keeps its place in the group: whoever comes after it need not wait until it is missed."""
NIMBLE = '{"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}'
"""A member that is missed as soon as brokers commonly allow."""


class Stream(Protocol):
    """Alerts, in the order in which they are produced, and the copy that they are matched with."""

    copy: Path
    alerts: Sequence[dict[str, Any]]
    messages: Sequence[Message]
    matches: Sequence[tuple[dict[str, Any], float] | None]
    """For each alert the nearest row of the catalogue, and how far it lies, in arcsec."""
    tables: Mapping[str, list[dict[str, Any]]]
    """Of the database, after all alerts."""


@dataclass
class Course:
    """A stream, and the group of steps that it goes through."""

    zygote: Zygote
    address: str
    stream: Stream
    topic: str
    places: Sequence[tuple[int, int]]
    """Partition and offset of each alert."""
    out: str
    database: Database | None
    delivery: str = "at-least-once"
    batch: int = BATCH
    partitions: int = PARTITIONS

    @property
    def group(self) -> str:
        return f"group-{self.out}"

    def settings(self, member: str = "a", **more: str) -> dict[str, str]:
        """Environment of a member of the group."""
        environ = {
            "CONSUMER_TOPICS": self.topic,
            "CONSUMER_SERVER": self.address,
            "CONSUMER_GROUP_ID": self.group,
            "PRODUCER_SERVER": self.address,
            "PRODUCER_TOPIC": self.out,
            "DELIVERY": self.delivery,
            "TRANSACTIONAL_ID": f"{self.group}-{member}",
            "CATALOG": json.dumps([{"name": "allwise", "path": str(self.stream.copy)}]),
            "WORKERS": "0",
            "CONSUME_MESSAGES": str(self.batch),
            "CONSUME_TIMEOUT": "0.5",
            "LOG_FORMAT": "json",
        }
        if self.database is not None:
            environ |= {
                "ENGINE": "postgresql",
                "DB_HOST": self.database["host"],
                "DB_PORT": str(self.database["port"]),
                "DB_USER": self.database["user"],
                "DB_PASSWORD": self.database["password"],
                "DB_NAME": self.database["name"],
            }
        return environ | more

    def prepare(self) -> None:
        """Make the topics of the output, and the tables."""
        create_topic(self.address, self.out, self.partitions)
        create_topic(self.address, f"{self.out}_dlq")
        if self.database is not None:
            init = self.zygote.start(self.settings(), ("db", "init"))
            assert init.wait() == 0, init.log

    def start(self, member: str = "a", mark: Mark | None = None, **more: str) -> Step:
        """Start a member, or the next process of one."""
        return self.zygote.start(self.settings(member, **more), mark=mark)

    def finish(self, **more: str) -> Step:
        """Have a step do what is left, to the end of the stream."""
        step = self.start(ENABLE_PARTITION_EOF="true", **more)
        assert step.wait(10 * PATIENCE) == 0, step.log[-4000:]
        return step

    def follow(self) -> Follower:
        """Read the output as it grows, committed messages alone."""
        return Follower(self.address, self.out, isolation=COMMITTED)

    def outputs(self) -> Outputs:
        """Read all of the output that is committed."""
        return Outputs(self, read_all(self.address, self.out, isolation=COMMITTED))

    def aborted(self) -> int:
        """How many messages of aborted transactions the output holds."""
        return len(read_all(self.address, self.out, isolation=UNCOMMITTED)) - len(
            read_all(self.address, self.out, isolation=COMMITTED)
        )

    def committed(self) -> int:
        """How many alerts the group has committed."""
        return sum(committed(self.address, self.group, self.topic).values())

    def check_tables(self) -> None:
        """Compare the tables with the contract's rules, followed alert by alert."""
        expected, found = self.stream.tables, self.tables()
        assert [row.pop("dist") for row in found["xmatch"]] == pytest.approx(
            [row.pop("dist") for row in expected["xmatch"]], abs=1e-9
        )
        assert found == expected

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """What the database holds, by key."""
        assert self.database is not None
        found = {}
        with connect(self.database) as connection:
            for name in ("object", "allwise", "xmatch"):
                cursor = connection.execute(f"SELECT * FROM {name} ORDER BY {', '.join(KEYS[name])}")  # type: ignore[arg-type]
                names = [column.name for column in cursor.description or ()]
                found[name] = [dict(zip(names, row, strict=True)) for row in cursor]
        return found


@dataclass(frozen=True)
class Jump:
    """Alerts of one partition that came out again, by one step after another had died."""

    partition: int
    alerts: int


@dataclass(frozen=True)
class Outputs:
    """What an independent reader made of an output topic."""

    course: Course
    messages: Sequence[Received]

    @cached_property
    def alerts(self) -> list[dict[str, Any]]:
        return [record for message in self.messages for record in fastavro.reader(io.BytesIO(message.value or b""))]

    @cached_property
    def numbers(self) -> list[int]:
        """Of each output, the number of its alert in the stream."""
        numbers = {alert["candid"]: number for number, alert in enumerate(self.course.stream.alerts)}
        return [numbers[alert["candid"]] for alert in self.alerts]

    @property
    def lost(self) -> int:
        return len(self.course.stream.alerts) - len(set(self.numbers))

    @property
    def repeats(self) -> int:
        return sum(count - 1 for count in Counter(self.numbers).values())

    def check(self) -> None:
        """See that nothing is lost, and that every output, repeats too, is the alert with its right answer."""
        assert self.lost == 0
        for number, message, alert in zip(self.numbers, self.messages, self.alerts, strict=True):
            match = self.course.stream.matches[number]
            assert message.key == alert["objectId"].encode()
            assert message.header("xmatch.status") == ("unmatched" if match is None else "matched")
            xmatches = alert.pop("xmatches")
            assert alert == self.course.stream.alerts[number]
            if match is None:
                assert xmatches is None
            else:
                assert xmatches["allwise"]["AllWISE"] == match[0]["designation"]
                assert abs(xmatches["allwise"]["angDist"] - match[1]) < 1e-6

    def jumps(self) -> list[Jump]:
        """Where the output goes back in a partition of the input; it must never leave out or exchange anything.

        Input and output have the same number of partitions, and the same keys.
        """
        found = []
        expected = dict.fromkeys(range(self.course.partitions), 0)
        for number, message in zip(self.numbers, self.messages, strict=True):
            partition, offset = self.course.places[number]
            assert message.partition == partition
            assert offset <= expected[partition], "an alert was left out, or came out of turn"
            if offset < expected[partition]:
                found.append(Jump(partition, expected[partition] - offset))
            expected[partition] = offset + 1
        assert expected == dict(Counter(partition for partition, _ in self.course.places))
        return found


def produce_alerts(address: str, topic: str, stream: Stream, partitions: int) -> list[tuple[int, int]]:
    """Make a topic and fill it; gives partition and offset of each alert."""
    create_topic(address, topic, partitions)
    return produce(address, topic, stream.messages)
