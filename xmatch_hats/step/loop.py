"""The one loop: gather a batch, have it processed, commit it; and gather the next one meanwhile.

The loop's thread alone speaks to the source, so that a Kafka group never misses it: while a batch computes it goes on
polling, and what comes is decoded for the next batch. At most one batch is processed and one is gathered at any time.
The next one starts when the last one is committed, so that a crash repeats one batch of a partition at most.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from xmatch_hats.step.decoding import Decoder
from xmatch_hats.step.flight import Flight, Source, Watcher, nobody
from xmatch_hats.step.report import BatchReport
from xmatch_hats.step.waiting import AbandonedError, Stop
from xmatch_hats.step.worker import Worker

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""A source is asked in pieces of this, since nothing else moves meanwhile, a signal's handler neither."""
_UNDECODED_CHUNKS = 2
_CHUNK_MESSAGES = 64
"""What is not decoded yet may turn out larger than it looks: at most 2 x 64 messages."""
_PATIENCE_SECONDS = 1.0
"""How long a full source is left unpolled before it is paused, which costs it what it has fetched."""


@dataclass(frozen=True)
class BatchLimits:
    """When a batch is full: at the first of these."""

    alerts: int = 1000
    seconds: float = 10.0
    """Since its first message."""
    size: int = 128 << 20
    """Bytes in memory. Two batches, and 128 messages that are not decoded yet, bound the memory of a run."""
    release_seconds: float = 120.0
    """How long partitions that are taken away wait for a batch on its way."""
    stop_seconds: float = 8.0
    """How long a run that is told to end waits for it."""


class Loop:
    """Runs until its source has no more, or it is told to stop.

    Parameters
    ----------
    source : Source
    decoder : Decoder
    worker : Worker
    stop : Stop
    limits : BatchLimits, optional
    on_batch : callable, optional
        Given each batch's report once it is committed.
    on_beat : callable, optional
        Called with every turn.
    watch : callable, optional
    """

    def __init__(
        self,
        source: Source,
        decoder: Decoder,
        worker: Worker,
        stop: Stop,
        limits: BatchLimits | None = None,
        on_batch: Callable[[BatchReport], None] | None = None,
        on_beat: Callable[[], None] | None = None,
        watch: Watcher = nobody,
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._worker = worker
        self._stop = stop
        self._limits = limits or BatchLimits()
        self._on_batch = on_batch or (lambda _: None)
        self._on_beat = on_beat or (lambda: None)
        self._watch = watch
        self._current: Flight | None = None
        self._next: Flight | None = None
        self._began = 0.0
        self._full_since: float | None = None
        self._paused = False
        self._launched = 0
        self._settling = False

    def run(self) -> None:
        """Run.

        Raises
        ------
        AccountError, PoisonedError, XmatchError
            What the worker stopped at. Nothing is committed for that batch.
        """
        try:
            self._source.open(self._release)
            while not self._stop.requested.is_set() and not self._is_done():
                self._turn()
            if self._stop.requested.is_set():
                self._wind_up()
        finally:
            # Whatever is still on its way is nobody's by now: leaving the group must not wait for it.
            self._current = self._next = None
            self._worker.close()
            self._decoder.close()

    def _is_done(self) -> bool:
        return self._current is None and self._next is None and self._source.finished

    def _turn(self) -> None:
        self._on_beat()
        self._settle()
        is_due = self._next is not None and self._is_due(self._next)
        if is_due and self._current is None:
            self._launch()
            is_due = False
        room = 0 if is_due else self._room()
        if room:
            self._resume()
            self._take(self._source.poll(room, self._poll_seconds()))
        else:
            # A batch that is not full only waits for its messages to be decoded, which takes milliseconds.
            self._idle(POLL_SECONDS if is_due or self._next is None else POLL_SECONDS / 20)

    def _take(self, messages: list) -> None:
        if not messages:
            return
        if self._next is None:
            self._next, self._began = Flight(0), time.monotonic()
        self._next.chunks.append(self._decoder.submit(messages))

    def _room(self) -> int:
        """How many more messages may come now."""
        if self._next is None:
            return min(self._limits.alerts, _CHUNK_MESSAGES) if not self._source.finished else 0
        if self._next.undecoded >= _UNDECODED_CHUNKS:
            return 0
        return max(min(self._limits.alerts - self._next.alerts, _CHUNK_MESSAGES), 0)

    def _is_due(self, flight: Flight) -> bool:
        limits = self._limits
        return (
            flight.alerts >= limits.alerts
            or flight.size >= limits.size
            or time.monotonic() - self._began >= limits.seconds
            or self._source.finished
        )

    def _poll_seconds(self) -> float:
        # A batch that is ready to be settled should not wait for messages that do not come.
        return POLL_SECONDS / 10 if self._settling else POLL_SECONDS

    def _idle(self, seconds: float) -> None:
        """Wait for the batch on its way, or for the decoding, and keep the source alive."""
        if self._current is not None and not self._current.done.is_set():
            self._current.done.wait(seconds)
        elif self._next is not None or self._settling:
            time.sleep(POLL_SECONDS / 20)
        now = time.monotonic()
        self._full_since = self._full_since or now
        if not self._paused and now - self._full_since >= _PATIENCE_SECONDS:
            self._source.pause()
            self._paused = True
        if self._paused or self._settling:
            self._source.poll(0, 0.0)

    def _resume(self) -> None:
        self._full_since = None
        if self._paused:
            self._source.resume()
            self._paused = False

    def _launch(self) -> None:
        flight, self._next = self._next, None
        assert flight is not None
        self._launched += 1
        flight.number = self._launched
        self._current = flight
        self._worker.launch(flight)

    def _settle(self) -> None:
        flight = self._current
        if flight is None or not flight.done.is_set():
            return
        if isinstance(flight.error, AbandonedError):
            logger.warning("batch %d is given up: %s", flight.number, flight.error)
            self._source.rewind(flight)
            self._forget_gathered(flight.starts())
            self._current, self._settling = None, False
            self._watch("abandoned", flight.number)
            return
        if flight.error is not None:
            raise flight.error
        if not self._settling and self._source.commits:
            self._watch("committing", flight.number)
        self._settling = not self._source.settle(flight)
        if not self._settling:
            if self._source.commits:
                self._watch("committed", flight.number)
            self._current = None
            assert flight.report is not None
            self._on_batch(flight.report)

    def _release(self, accounts: set[str], lost: bool) -> None:
        """Give partitions up: finish what is on its way with them, and forget what has only been gathered."""
        self._forget_gathered(accounts)
        flight = self._current
        if flight is None or accounts.isdisjoint(flight.starts()):
            return
        if lost or not self._finish(flight):
            logger.warning("batch %d is late for a rebalance: its partitions are given up", flight.number)
            flight.lost = True
        # If they come back, they come back elsewhere: whoever had them meanwhile has moved on.
        flight.drop(accounts)

    def _forget_gathered(self, accounts: Iterable[str]) -> None:
        if self._next is not None:
            self._next.drop(accounts)
            if not self._next.starts():
                self._next = None

    def _finish(self, flight: Flight) -> bool:
        """Wait for a batch whose partitions are asked for, commit it, and tell whether that worked."""
        deadline = time.monotonic() + min(self._limits.release_seconds, self._source.patience)
        while not flight.done.wait(POLL_SECONDS) and time.monotonic() < deadline:
            self._on_beat()
            if self._stop.requested.is_set():
                deadline = min(deadline, time.monotonic() + self._limits.stop_seconds)
        return flight.done.is_set() and flight.error is None and self._source.settle(flight, at_once=True)

    def _wind_up(self) -> None:
        """Finish the batch on its way, within the bound, and leave the gathered one to whoever comes next."""
        deadline = time.monotonic() + self._limits.stop_seconds
        self._next = None
        logger.info("told to stop%s", "" if self._current is None else f": finishing batch {self._current.number}")
        # For a batch that has lost its partitions nothing can be committed: it is not worth waiting for.
        while self._current is not None and not self._current.lost and time.monotonic() < deadline:
            self._on_beat()
            self._current.done.wait(POLL_SECONDS)
            self._settle()
            if self._settling:
                self._source.poll(0, POLL_SECONDS / 10)
        if self._current is not None:
            logger.warning("batch %d is abandoned uncommitted: it will be done again", self._current.number)
            self._stop.abandoned.set()
            self._current.done.wait(0.5)
