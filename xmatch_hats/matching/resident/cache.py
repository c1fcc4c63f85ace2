"""The partitions that a process keeps open, bounded by their bytes."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.errors import UsageError
from xmatch_hats.matching.resident.partition import Resident, Source


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


@dataclass(frozen=True)
class CacheKey:
    """Tells a partition, and its content, from every other."""

    source: Source
    side_columns: tuple[str, ...] | None
    """Of the side copy that its rows are taken from."""
    partition: Partition


@dataclass(frozen=True, eq=False)
class CacheUser:
    """Somebody in this process for whom partitions are kept."""

    sources: frozenset[Source]
    limit: int
    """Bytes that may stay open for them."""


class PartitionCache:
    """Open partitions, of which those longest unused are given up first. Threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: OrderedDict[CacheKey, tuple[Resident, int]] = OrderedDict()
        self._bytes = 0
        self._users: list[CacheUser] = []
        self._gone: deque[CacheUser] = deque()

    @property
    def bytes(self) -> int:
        """Memory of what is open now."""
        return self._bytes

    @contextmanager
    def using(
        self, key: CacheKey, open_: Callable[[], Resident], limit: int, counts: CacheCounts
    ) -> Iterator[Resident]:
        """Use a partition, open or opened now.

        Parameters
        ----------
        key : CacheKey
        open_ : callable
            Opens it.
        limit : int
            Bytes that may stay open after use, unless somebody who entered allows more. A partition larger than that is
            used, and given up at once. With 0 nothing is kept that was not before, and nothing of it given up.
        counts : CacheCounts
            Counted up; its bytes are set.
        """
        with self._locked():
            held = self._held.get(key)
        if held is not None and held[0].is_current():
            counts.hits += 1
            partition = held[0]
        else:
            counts.misses += 1
            # Without the lock: others go on. Two that open one partition at the same time do so in vain once.
            partition = open_()
        yield partition
        with self._locked():
            if limit or key in self._held:
                self._put(key, partition)
            else:
                counts.evictions += 1
            room = max([limit, *(user.limit for user in self._users)])
            while limit and self._bytes > room:
                self._give_up(next(iter(self._held)))
                counts.evictions += 1
            counts.bytes = self._bytes

    def enter(self, sources: Iterable[Source], limit: int) -> Callable[[], None]:
        """Count in somebody who will use partitions of some catalogues, and for whom a number of bytes may stay open.

        Returns
        -------
        callable
            Counts them out; to be called once. What nobody else entered for is given up.
        """
        user = CacheUser(frozenset(sources), limit)
        with self._locked():
            self._users.append(user)
        return partial(self._leave, user)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            yield
        self._part()

    def _leave(self, user: CacheUser) -> None:
        # What collects garbage calls this at any time, also in a thread that has the lock: so nobody waits for it here.
        self._gone.append(user)
        self._part()

    def _part(self) -> None:
        """Give up what was kept for those who left; whoever has the lock does so after it."""
        while self._gone and self._lock.acquire(blocking=False):
            try:
                user = self._gone.popleft()
                self._users.remove(user)
                left = user.sources.difference(*(other.sources for other in self._users))
                for key in [key for key in self._held if key.source in left]:
                    self._give_up(key)
            finally:
                self._lock.release()

    def _put(self, key: CacheKey, partition: Resident) -> None:
        """Put a partition, which may have grown, to those used last."""
        if key in self._held:
            self._give_up(key)
        self._held[key] = (partition, partition.bytes)
        self._bytes += self._held[key][1]

    def _give_up(self, key: CacheKey) -> None:
        _, size = self._held.pop(key)
        self._bytes -= size


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
