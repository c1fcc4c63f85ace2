"""The partitions that a process keeps open, bounded by their bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from xmatch_hats.errors import UsageError
from xmatch_hats.matching.resident.partition import Resident


@dataclass
class CacheCounts:
    """What became of the partitions that were asked for."""

    hits: int = 0
    """Were open."""
    misses: int = 0
    """Had to be opened."""
    evictions: int = 0
    """Were given up, to make room."""
    bytes: int = 0
    """Memory of those that are open now."""

    def add(self, other: CacheCounts) -> None:
        """Count in what came later."""
        self.hits += other.hits
        self.misses += other.misses
        self.evictions += other.evictions
        self.bytes = other.bytes


class PartitionCache:
    """Open partitions, of which those longest unused are given up first. Threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: OrderedDict[Hashable, tuple[Resident, int]] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Memory of what is open now."""
        return self._bytes

    @contextmanager
    def using(
        self, key: Hashable, open_: Callable[[], Resident], limit: int, counts: CacheCounts
    ) -> Iterator[Resident]:
        """Use a partition, open or opened now.

        Parameters
        ----------
        key : hashable
            Tells it, and its content, from every other.
        open_ : callable
            Opens it.
        limit : int
            Bytes that may stay open after use. A partition larger than that is used, and given up at once.
        counts : CacheCounts
            Counted up; its bytes are set.
        """
        with self._lock:
            held = self._held.get(key)
        if held is not None and held[0].is_current():
            counts.hits += 1
            partition = held[0]
        else:
            counts.misses += 1
            # Without the lock: others go on. Two that open one partition at the same time do so in vain once.
            partition = open_()
        yield partition
        with self._lock:
            self._put(key, partition)
            while self._bytes > limit:
                _, (_, size) = self._held.popitem(last=False)
                self._bytes -= size
                counts.evictions += 1
            counts.bytes = self._bytes

    def clear(self) -> None:
        """Give up everything."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    def _put(self, key: Hashable, partition: Resident) -> None:
        """Put a partition, which may have grown, to those used last."""
        _, before = self._held.pop(key, (None, 0))
        size = partition.bytes
        self._held[key] = (partition, size)
        self._bytes += size - before


def bytes_of_cache(wanted: Any) -> int | None:
    """Memory that somebody lets a process keep partitions in; None where that is left open.

    Raises
    ------
    UsageError
        It is no whole number of bytes, at least 0.
    """
    if wanted is None:
        return None
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer) or wanted < 0:
        raise UsageError(
            f"cache_bytes must be a whole number of at least 0 bytes, not {wanted!r}",
            hint="a GiB is 2**30",
            value=wanted,
        )
    return int(wanted)
