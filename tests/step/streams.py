"""A step between two topics of a broker, with a matcher that finds what it is told to: the loop without the engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.alerts.makers import pack, small_alert, stand_in, unpack
from tests.services.topics import Message, Received
from xmatch_hats.alerts.enrich import Enricher, Matcher
from xmatch_hats.alerts.framing import MessageReader
from xmatch_hats.alerts.limits import MESSAGE_LIMITS
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import InputOutput
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.step.decoding import Decoder
from xmatch_hats.step.flight import ErrorPolicy, nobody
from xmatch_hats.step.flight import Message as GivenMessage
from xmatch_hats.step.kafka.sink import KafkaSink
from xmatch_hats.step.kafka.source import KafkaSource, SourceEvents
from xmatch_hats.step.kafka.topics import OutputTopics, TopicPlan
from xmatch_hats.step.kafka.transactions import TransactionalSink
from xmatch_hats.step.loop import BatchLimits, Loop
from xmatch_hats.step.pipeline import Pipeline
from xmatch_hats.step.report import Account, BatchReport
from xmatch_hats.step.waiting import AbandonedError, Stop, Waiter
from xmatch_hats.step.worker import ThreadWorker

DECS = (-5.0, 3.0, 89.0, -6.0)
"""Matched, unmatched, outside the coverage, matched: by `stand_in`."""
STATUSES = ("matched", "unmatched", "outside-coverage", "matched")


def alerts(count: int, partitions: int = 1, objects: int = 7) -> list[Message]:
    """Small alerts, spread over partitions by their object; statuses go by `STATUSES`."""
    return [
        Message(
            pack([small_alert(i, dec=DECS[i % 4], objectId=f"ZTF{i % objects}")]),
            key=f"ZTF{i % objects}".encode(),
            partition=(i % objects) % partitions,
        )
        for i in range(count)
    ]


def candids(messages: Iterable[Received]) -> list[int]:
    """Numbers of alerts as they lie in a topic."""
    return [unpack(message.value)[0]["candid"] for message in messages]


def wait_until(seen: Callable[[], bool], what: str, seconds: float = 40) -> None:
    """Look until something is so."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"{what}: not in {seconds:g} s"
        time.sleep(0.01)


class Gate:
    """A matcher that can be held up, and tells how far it is.

    Parameters
    ----------
    seconds : float, optional
        How long each batch takes.
    is_open : bool, optional
        Whether batches pass from the beginning.
    """

    def __init__(self, seconds: float = 0.0, *, is_open: bool = True) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.seconds, self.begun = seconds, 0
        self._inner = stand_in()
        self.targets = self._inner.targets
        if is_open:
            self.open.set()

    def match(self, ra: Any, dec: Any) -> Mapping[str, MatchResult]:
        self.begun += 1
        self.entered.set()
        self.open.wait()
        time.sleep(self.seconds)
        return self._inner.match(ra, dec)


class CountingSource(KafkaSource):
    """Tells how many messages it has given."""

    given = 0

    def poll(self, limit: int, seconds: float) -> list[GivenMessage]:
        messages = super().poll(limit, seconds)
        self.given += len(messages)
        return messages


@dataclass
class Stream:
    """One step, its ends and what it told."""

    address: str
    topics: tuple[str, ...]
    out: str
    group: str
    delivery: str = "at-least-once"
    policy: str = "dlq"
    limits: BatchLimits = field(default_factory=lambda: BatchLimits(alerts=50, seconds=0.3))
    until_end: bool = True
    span: Any = None
    plan: TopicPlan | None = None
    matcher: Matcher = field(default_factory=stand_in)
    consumer: dict[str, Any] = field(default_factory=dict)
    producer: dict[str, Any] = field(default_factory=dict)
    watch: Callable[[str, int], None] = nobody
    transactional_id: str = ""
    dead_topic: str = ""
    stop: Stop = field(default_factory=Stop)
    reports: list[BatchReport] = field(default_factory=list)
    waits: list[tuple[str, str, int]] = field(default_factory=list)
    gaps: list[tuple[str, int]] = field(default_factory=list)
    assigned: set[str] = field(default_factory=set)
    assignments: list[int] = field(default_factory=list)
    """Number of partitions after each rebalance."""
    source: CountingSource | None = None
    sink: KafkaSink | TransactionalSink | None = None
    is_done: bool = False
    error: BaseException | None = None

    @property
    def dead(self) -> str:
        return self.dead_topic or f"{self.out}_dlq"

    @property
    def total(self) -> Account:
        total = Account()
        for report in self.reports:
            total.add(report.total)
        return total

    def run(self) -> Stream:
        """Run to the end, or until `stop`."""
        self.error = None
        common = {"bootstrap.servers": self.address, "log_level": 0, "reconnect.backoff.max.ms": 500}
        waiter = Waiter(self.stop, 0.1, on_wait=lambda *told: self.waits.append(told))
        sink = self._sink(common)
        waiter.until_done("producer", sink.open, until_asked=True)
        source = CountingSource(
            {
                **common,
                "group.id": self.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": self.until_end or self.span is not None,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 300,
                "topic.metadata.refresh.interval.ms": 500,
                "fetch.wait.max.ms": 50,
                **self.consumer,
            },
            self.plan or TopicPlan(self.topics),
            waiter,
            span=self.span,
            until_end=self.until_end,
            events=SourceEvents(self._on_assigned, lambda partition, count: self.gaps.append((partition, count))),
            commits=self.delivery == "at-least-once",
        )
        if isinstance(sink, TransactionalSink):
            sink.group = source.group
        self.source, self.sink = source, sink
        enricher = Enricher(self.matcher, InputOutput())
        pipeline = Pipeline(lambda: enricher, sink, waiter, watch=self.watch)
        reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS))
        loop = Loop(
            source,
            Decoder(reader.read, waiter),
            ThreadWorker(pipeline.process),
            self.stop,
            self.limits,
            self.reports.append,
            watch=self.watch,
        )
        try:
            loop.run()
        finally:
            source.close(2)
            sink.close(2)
            self.is_done = True
        return self

    def _on_assigned(self, partitions: set[str]) -> None:
        self.assigned = partitions
        self.assignments.append(len(partitions))

    def _sink(self, common: dict[str, Any]) -> KafkaSink | TransactionalSink:
        conf = {**common, "enable.idempotence": True, "message.max.bytes": 20 << 20, "linger.ms": 5}
        topics = OutputTopics(self.out, self.dead)
        if self.delivery == "exactly-once":
            name = self.transactional_id or self.group
            conf |= {"transactional.id": name, "transaction.timeout.ms": 20_000, **self.producer}
            return TransactionalSink(conf, topics, ErrorPolicy(self.policy), self.stop)
        return KafkaSink(conf | {"message.timeout.ms": 0} | self.producer, topics, ErrorPolicy(self.policy), self.stop)

    @contextmanager
    def running(self) -> Iterator[Stream]:
        """Run in a thread; told to stop at the end of the block."""
        thread = threading.Thread(target=self._run_caught, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop.requested.set()
            thread.join(30)
        assert not thread.is_alive()
        if self.error is not None:
            raise self.error

    def wait_for(self, seen: Callable[[], bool], what: str, seconds: float = 40) -> None:
        """Look until something is so; what the run failed at comes first."""

        def look() -> bool:
            if self.error is not None:
                raise self.error
            return seen()

        wait_until(look, what, seconds)

    def _run_caught(self) -> None:
        try:
            self.run()
        except AbandonedError:
            # It was told to stop before it had begun.
            self.is_done = True
        except BaseException as error:  # noqa: BLE001, raised again where the test can see it
            self.error = error
