"""Memory of this process and its children while something runs."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Self

import psutil

MIB = 1 << 20


def resident_mib(pids: list[int] | None = None) -> float:
    """Resident memory, in MiB, of some processes, or of this one and its children."""
    if pids is None:
        this = psutil.Process()
        processes = [this, *this.children(recursive=True)]
    else:
        processes = [psutil.Process(pid) for pid in pids]
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / MIB


class Watch:
    """Samples memory while its block runs; pages that processes share count for each.

    Parameters
    ----------
    pids : list of int, optional
        Processes to watch; by default this one and its children.
    """

    def __init__(self, pids: list[int] | None = None) -> None:
        self.peak_mib = 0.0
        self._pids = pids
        self._done = Event()
        self._thread = Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while True:
            with suppress(psutil.NoSuchProcess):
                self.peak_mib = max(self.peak_mib, resident_mib(self._pids))
            if self._done.wait(0.02):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
