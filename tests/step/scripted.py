"""A source that does as it is told, poll by poll, and a worker that is done when the test says so."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from tests.alerts.makers import pack, small_alert
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.step.decoding import Decoder
from xmatch_hats.step.flight import Flight, Message, Source
from xmatch_hats.step.loop import BatchLimits, Loop
from xmatch_hats.step.report import BatchReport
from xmatch_hats.step.waiting import Stop, Waiter

PACKET = pack([small_alert()])


def messages(count: int, partitions: int = 1, data: bytes = PACKET) -> list[Message]:
    """Messages by turns of each partition, numbered within it."""
    return [Message(data, f"t[{i % partitions}]", i // partitions) for i in range(count)]


class ScriptedSource(Source):
    """Gives messages as far as it is asked for them; what is to happen in a poll can be set down by its number."""

    commits = True
    patience = math.inf

    def __init__(self, given: list[Message], *, ends: bool = True) -> None:
        self.waiting, self.ends = list(given), ends
        self.polls = 0
        self.script: dict[int, Callable[[], object]] = {}
        self.refusals = 0
        """How many times `settle` says that it is not done."""
        self.settled: list[tuple[int, dict[str, int]]] = []
        self.rewound: list[tuple[int, dict[str, int]]] = []
        self.limits: list[int] = []
        self.is_paused = False
        self.pauses = 0
        self.release: Callable[[set[str], bool], None] = lambda _accounts, _lost: None

    def open(self, release: Callable[[set[str], bool], None]) -> None:
        self.release = release

    def poll(self, limit: int, seconds: float) -> list[Message]:
        self.polls += 1
        self.limits.append(limit)
        self.script.get(self.polls, lambda: None)()
        if self.is_paused:
            return []
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if not taken:
            threading.Event().wait(min(seconds, 0.002))
        return taken

    def pause(self) -> None:
        self.is_paused, self.pauses = True, self.pauses + 1

    def resume(self) -> None:
        self.is_paused = False

    @property
    def finished(self) -> bool:
        return self.ends and not self.waiting

    def settle(self, flight: Flight, *, at_once: bool = False) -> bool:
        if self.refusals and not at_once:
            self.refusals -= 1
            return False
        self.settled.append((flight.number, flight.ends()))
        return True

    def rewind(self, flight: Flight) -> None:
        self.rewound.append((flight.number, flight.starts()))


class HandWorker:
    """Keeps batches until they are finished by hand, or at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.flights: list[Flight] = []
        self.closed = False

    def launch(self, flight: Flight) -> None:
        self.flights.append(flight)
        if self.at_once:
            self.finish(flight)

    def finish(self, flight: Flight, error: BaseException | None = None) -> None:
        now = datetime.now(UTC)
        flight.report, flight.error = BatchReport(flight.number, {}, {}, {}, {}, now, now), error
        flight.done.set()

    def close(self) -> None:
        self.closed = True


class Scene:
    """A loop between the two."""

    def __init__(self, given: list[Message], *, ends: bool = True, at_once: bool = True, **limits: float) -> None:
        self.source, self.worker, self.stop = ScriptedSource(given, ends=ends), HandWorker(at_once=at_once), Stop()
        self.reports: list[int] = []
        self.seen: list[tuple[str, int]] = []
        self.beats = 0
        self.loop = Loop(
            self.source,
            Decoder(PacketReader().read, Waiter(self.stop), ahead=False),
            self.worker,
            self.stop,
            BatchLimits(**{"alerts": 10, "seconds": 60, **limits}),
            lambda report: self.reports.append(report.number),
            self._beat,
            lambda name, number: self.seen.append((name, number)),
        )

    def _beat(self) -> None:
        self.beats += 1

    def run(self) -> Scene:
        self.loop.run()
        return self

    @property
    def batches(self) -> list[list[tuple[str, int]]]:
        """What each batch holds, by partition and number, without what was taken from it."""
        return [
            [(m.account, m.number) for chunk in flight.chunks for m in chunk.messages if m.account not in chunk.dropped]
            for flight in self.worker.flights
        ]
