"""The step itself in a thread of a test, with a real broker and the real engine, and what must come of it."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.alerts.makers import unpack
from tests.services.process import free_ports
from tests.services.topics import Received, create_topic
from tests.step.monitoring.reports import Samples, parse
from tests.step.process.sky import Sky
from tests.step.settings.world import load
from xmatch_hats.step.reading import Reading
from xmatch_hats.step.report import Account
from xmatch_hats.step.run import run_stream
from xmatch_hats.step.settings import StepSettings
from xmatch_hats.step.waiting import Stop

PATIENCE = 60.0
"""Seconds after which what a test waits for has failed."""


@dataclass
class World:
    """Topics of a test's own, and the settings of a step that leads from one to the other."""

    address: str
    variables: dict[str, str]

    @classmethod
    def make(cls, address: str, copy: Path, partitions: int = 2, largest: int | None = None, **variables: str) -> World:
        """Make the topics.

        Parameters
        ----------
        address : str
            Of the broker.
        copy : Path
            Of ALLWISE.
        partitions : int, optional
            Of the topic that is read.
        largest : int, optional
            Bytes of a message that the topics of alerts and of dead letters take.
        variables : str, optional
            More settings, which win.
        """
        word = uuid.uuid4().hex[:12]
        create_topic(address, f"in-{word}", partitions)
        for name in (f"out-{word}", f"out-{word}_dlq"):
            create_topic(address, name, **({} if largest is None else {"max_message_bytes": largest}))
        eager = json.dumps({"reconnect.backoff.max.ms": 500})
        given = {
            "CONSUMER_TOPICS": f"in-{word}",
            "CONSUMER_SERVER": address,
            "CONSUMER_GROUP_ID": f"group-{word}",
            "CONSUMER_CONF": json.dumps({"reconnect.backoff.max.ms": 500, "topic.metadata.refresh.interval.ms": 1000}),
            "PRODUCER_TOPIC": f"out-{word}",
            "PRODUCER_SERVER": address,
            "PRODUCER_CONF": eager,
            "CATALOG": json.dumps([{"name": "allwise", "path": str(copy)}]),
            "WORKERS": "0",
            "CONSUME_TIMEOUT": "0.5",
            "CONSUME_MESSAGES": "100",
            "RETRIES": "1",
            "RETRY_INTERVAL": "0.2",
        }
        return cls(address, given | variables)

    @property
    def topic(self) -> str:
        return self.variables["CONSUMER_TOPICS"]

    @property
    def out(self) -> str:
        return self.variables["PRODUCER_TOPIC"]

    @property
    def dead(self) -> str:
        return f"{self.out}_dlq"

    @property
    def group(self) -> str:
        return self.variables["CONSUMER_GROUP_ID"]

    def environ(self, **changes: str | None) -> dict[str, str]:
        """The settings with some changed, or left out where None."""
        return {name: value for name, value in (self.variables | changes).items() if value is not None}

    def settings(self, **changes: str | None) -> StepSettings:
        return load(**self.environ(**changes))

    def run(self, reading: Callable[[StepSettings], Reading] | None = None, **changes: str | None) -> Account:
        """Run until everything is read."""
        settings = self.settings(**{"ENABLE_PARTITION_EOF": "true", **changes})
        return run_stream(settings, Stop(), reading=reading(settings) if reading else None)

    @contextlib.contextmanager
    def running(self, **changes: str | None) -> Iterator[Running]:
        """Run in a thread until the end of the block; whatever the run raises is raised there."""
        (port,) = free_ports(1)
        step = Running(self.settings(**{"HTTP_PORT": str(port), **changes}))
        step.start()
        try:
            yield step
        finally:
            step.end()


@dataclass
class Running:
    """A step that runs in a thread."""

    settings: StepSettings
    stop: Stop = field(default_factory=Stop)
    boundaries: list[tuple[str, int]] = field(default_factory=list)
    """What batches have crossed."""
    total: Account | None = None
    error: BaseException | None = None

    def start(self) -> None:
        self._log = _Kept()
        self._thread = threading.Thread(target=self._run, name="step", daemon=True)
        self._log.begin()
        self._thread.start()

    def _run(self) -> None:
        try:
            self.total = run_stream(self.settings, self.stop, watch=self._watch)
        except BaseException as error:  # noqa: BLE001, raised again where the test can see it
            self.error = error

    def _watch(self, boundary: str, number: int) -> None:
        self.boundaries.append((boundary, number))

    def end(self) -> None:
        """Tell it to stop, and wait for it."""
        self.stop.requested.set()
        self._thread.join(PATIENCE)
        self._log.end()
        assert not self._thread.is_alive(), self.log
        if self.error is not None:
            raise self.error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def log(self) -> str:
        return "\n".join(self._log.lines)

    @property
    def batches(self) -> int:
        """How many batches are committed."""
        return sum(boundary == "committed" for boundary, _ in self.boundaries)

    def says(self, text: str, timeout_s: float = PATIENCE) -> None:
        """Wait until its log has a text."""
        self.until(lambda: text in self.log, repr(text), timeout_s)

    def until(self, seen: Callable[[], bool], what: str, timeout_s: float = PATIENCE) -> None:
        """Wait until something is true, while it runs."""
        deadline = time.monotonic() + timeout_s
        while not seen():
            assert self.alive, f"ended before {what}: {self.error!r}\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"{what} did not come in {timeout_s:g} s:\n{self.log[-4000:]}"
            time.sleep(0.02)

    def ask(self, path: str) -> tuple[int, str]:
        """Status and text of a page; 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.settings.http_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def waits_for(self) -> dict[str, str]:
        """What keeps it from being ready, by component."""
        status, text = self.ask("/ready")
        if not status:
            return {"http": "nobody listens"}
        body = json.loads(text)
        assert body["ready"] == (status == 200)
        waiting: dict[str, str] = body["waiting_for"]
        return waiting

    def is_ready(self) -> bool:
        return self.ask("/ready")[0] == 200

    def metrics(self) -> Samples:
        status, text = self.ask("/metrics")
        assert status == 200
        return parse(text)


class _Kept(logging.Handler):
    """Keeps the lines of the package's log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._logger = logging.getLogger("xmatch_hats")
        self._level = self._logger.level

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")

    def begin(self) -> None:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def end(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


Answers = dict[int, tuple[str, float] | None]
"""By candid: the source's name and its distance in arcsec, None without a match."""


def answers(messages: Sequence[Received], catalog: str = "allwise") -> Answers:
    """What alerts came out with; none of them twice."""
    found: Answers = {}
    for message in messages:
        assert message.value is not None
        (alert,) = unpack(message.value)
        assert alert["candid"] not in found
        match = (alert["xmatches"] or {}).get(catalog)
        found[alert["candid"]] = None if match is None else (match["AllWISE"], match["angDist"])
        assert (message.header("xmatch.status") == "matched") == (alert["xmatches"] is not None)
    return found


def assert_answers(sky: Sky, messages: Sequence[Received], numbers: Sequence[int] | None = None) -> None:
    """Every alert, or those of some numbers, came out once, with the answer of brute force."""
    found = answers(messages)
    expected = {
        sky.alerts[i]["candid"]: sky.matches[i] for i in (range(len(sky.alerts)) if numbers is None else numbers)
    }
    assert found.keys() == expected.keys()
    for candid, match in expected.items():
        answer = found[candid]
        if match is None:
            assert answer is None
        else:
            row, separation = match
            assert answer is not None
            assert answer[0] == row["designation"]
            assert abs(answer[1] - separation) < 1e-6
