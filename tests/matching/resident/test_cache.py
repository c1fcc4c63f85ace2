"""What is kept and what is given up."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from xmatch_hats.matching.resident.cache import CacheCounts, CacheKey, PartitionCache


class Fake:
    """A partition of some size."""

    def __init__(self, size: int) -> None:
        self.bytes = size
        self.current = True

    def is_current(self) -> bool:
        return self.current


def key(letter: str) -> CacheKey:
    """A partition of the catalogue that is called by the same letter in capitals."""
    return CacheKey(letter.upper(), None, letter)


class Shelf:
    """A cache, and partitions called by letters."""

    def __init__(self, limit: int) -> None:
        self.cache = PartitionCache()
        self.limit = limit
        self.counts = CacheCounts()
        self.opened: list[str] = []

    def use(self, letters: str, size: int = 10, grow: int = 0, limit: int | None = None) -> list[Fake]:
        used, limit = [], self.limit if limit is None else limit
        for letter in letters:
            with self.cache.using(key(letter), lambda name=letter: self.open(name, size), limit, self.counts) as found:
                found.bytes += grow
                used.append(found)
        return used

    def open(self, letter: str, size: int) -> Fake:
        self.opened.append(letter)
        return Fake(size)


def test_the_longest_unused_goes_first():
    shelf = Shelf(30)
    shelf.use("abc" + "a" + "d" + "ac")
    assert shelf.opened == ["a", "b", "c", "d"]
    shelf.use("b")
    assert shelf.opened[-1] == "b"
    assert shelf.counts == CacheCounts(hits=3, misses=5, evictions=2, bytes=30)


def test_one_that_grows_counts_with_its_new_size():
    shelf = Shelf(30)
    shelf.use("ab")
    shelf.use("a", grow=15)
    assert shelf.counts.bytes == 25
    assert shelf.counts.evictions == 1
    shelf.use("a")
    assert shelf.opened == ["a", "b"]


@pytest.mark.parametrize("limit", [0, 30])
def test_one_larger_than_the_bound_is_used_and_given_up(limit):
    shelf = Shelf(limit)
    shelf.use("a", size=31)
    shelf.use("a", size=31)
    assert shelf.counts == CacheCounts(hits=0, misses=2, evictions=2, bytes=0)


def test_one_whose_file_has_changed_is_opened_anew():
    shelf = Shelf(100)
    (first,) = shelf.use("a")
    first.current = False
    (second,) = shelf.use("a", size=20)
    assert second is not first
    assert shelf.counts == CacheCounts(hits=0, misses=2, evictions=0, bytes=20)


def test_one_that_cannot_be_opened_is_not_kept():
    shelf = Shelf(100)

    def fail():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), shelf.cache.using(key("a"), fail, 100, shelf.counts):
        pass
    shelf.use("a")
    assert shelf.counts == CacheCounts(hits=0, misses=2, evictions=0, bytes=10)


def test_a_smaller_bound_makes_room_at_the_next_use():
    shelf = Shelf(100)
    shelf.use("abcdefgh")
    shelf.limit = 25
    shelf.use("h")
    assert shelf.counts.bytes == 20


def test_threads_share_it():
    cache, limit = PartitionCache(), 55
    tallies = [CacheCounts() for _ in range(4)]

    def work(tally: CacheCounts, seed: int) -> None:
        for place in np.random.default_rng(seed).integers(0, 9, 500).tolist():
            with cache.using(key("abcdefghi"[place]), lambda: Fake(10), limit, tally) as partition:
                assert partition.bytes == 10

    threads = [threading.Thread(target=work, args=(tally, i)) for i, tally in enumerate(tallies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(tally.hits + tally.misses == 500 for tally in tallies)
    final = CacheCounts()
    with cache.using(key("a"), lambda: Fake(10), limit, final):
        pass
    assert final.bytes == 50


class TestUsers:
    """What is kept for whom: of each catalogue as long as there is somebody who uses it."""

    def test_who_leaves_gives_up_what_nobody_else_uses(self):
        shelf = Shelf(100)
        leave, leave_too = shelf.cache.enter("AB", 100), shelf.cache.enter("BC", 100)
        shelf.use("abcd")
        leave()
        shelf.use("bcd")
        assert shelf.opened == ["a", "b", "c", "d"]
        assert shelf.cache.bytes == 30
        leave_too()
        # What nobody entered for, as in a worker, stays.
        assert shelf.cache.bytes == 10
        shelf.use("d")
        assert shelf.opened == ["a", "b", "c", "d"]

    def test_the_largest_bound_counts(self):
        shelf = Shelf(100)
        leave = shelf.cache.enter("A", 40)
        shelf.use("ab" + "cdef", limit=20)
        assert shelf.cache.bytes == 40
        leave()
        shelf.use("f", limit=20)
        assert shelf.cache.bytes == 20

    @pytest.mark.parametrize("entered", [True, False])
    def test_a_bound_of_0_neither_keeps_nor_gives_up(self, entered):
        shelf = Shelf(20)
        if entered:
            shelf.cache.enter("A", 20)
        shelf.use("ab")
        shelf.use("acac", limit=0)
        assert shelf.opened == ["a", "b", "c", "c"]
        assert shelf.counts == CacheCounts(hits=2, misses=4, evictions=2, bytes=20)
        # What it had grow is counted, and given up with the next use of others.
        shelf.use("a", grow=5, limit=0)
        assert shelf.counts.bytes == 25
        shelf.use("a")
        assert shelf.counts.bytes == 15

    def test_who_leaves_while_others_hold_the_lock_is_not_waited_for(self):
        """What collects garbage calls it in any thread at any time, also within the lock."""
        shelf = Shelf(100)
        leave = shelf.cache.enter("A", 100)
        shelf.use("ab")
        with shelf.cache._locked():
            leave()
            assert shelf.cache.bytes == 20
        assert shelf.cache.bytes == 10

    def test_threads_that_come_and_go(self):
        cache, tally = PartitionCache(), CacheCounts()

        def work(seed: int) -> None:
            for letter in np.random.default_rng(seed).choice(list("abc"), 200):
                leave = cache.enter(letter.upper(), 100)
                with cache.using(key(letter), lambda: Fake(10), 100, CacheCounts()):
                    gc.collect(0)
                leave()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.bytes == 0
        with cache.using(key("a"), lambda: Fake(10), 100, tally):
            pass
        assert (tally.misses, tally.bytes) == (1, 10)
