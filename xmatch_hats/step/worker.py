"""Who processes batches: a thread beside the loop."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from xmatch_hats.step.flight import Flight
from xmatch_hats.step.report import BatchReport

Process = Callable[[Flight], BatchReport]


class Worker(Protocol):
    """Processes one batch at a time."""

    def launch(self, flight: Flight) -> None:
        """Begin with a batch; its `done` tells when it is through."""

    def close(self) -> None:
        """Take no more batches."""


class ThreadWorker:
    """Processes batches in a thread, which ends with the program at the latest."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._queue: SimpleQueue[Flight | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def launch(self, flight: Flight) -> None:
        """Hand a batch over; what goes wrong is found in its `error`."""
        self._queue.put(flight)

    def close(self) -> None:
        """End the thread after the batch that it has."""
        self._queue.put(None)

    def wait(self, seconds: float) -> None:
        """Wait, so long at most, until a closed one has ended."""
        self._thread.join(seconds)

    def _work(self) -> None:
        while (flight := self._queue.get()) is not None:
            try:
                flight.report = self._process(flight)
            except BaseException as error:  # noqa: BLE001, the loop raises it where it can be seen
                flight.error = error
            flight.done.set()
