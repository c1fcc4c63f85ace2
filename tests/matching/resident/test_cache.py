"""What is kept and what is given up."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from xmatch_hats.matching.resident.cache import CacheCounts, PartitionCache


class Fake:
    """A partition of some size."""

    def __init__(self, size: int) -> None:
        self.bytes = size
        self.current = True

    def is_current(self) -> bool:
        return self.current


class Shelf:
    """A cache, and partitions called by letters."""

    def __init__(self, limit: int) -> None:
        self.cache = PartitionCache()
        self.limit = limit
        self.counts = CacheCounts()
        self.opened: list[str] = []

    def use(self, letters: str, size: int = 10, grow: int = 0) -> list[Fake]:
        used = []
        for letter in letters:
            with self.cache.using(
                letter, lambda letter=letter: self.open(letter, size), self.limit, self.counts
            ) as found:
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

    with pytest.raises(OSError, match="gone"), shelf.cache.using("a", fail, 100, shelf.counts):
        pass
    shelf.use("a")
    assert shelf.counts == CacheCounts(hits=0, misses=2, evictions=0, bytes=10)


def test_a_smaller_bound_makes_room_at_the_next_use():
    shelf = Shelf(100)
    shelf.use("abcdefgh")
    shelf.limit = 25
    shelf.use("h")
    assert shelf.counts.bytes == 20
    shelf.cache.clear()
    shelf.use("h")
    assert shelf.counts.bytes == 10


def test_threads_share_it():
    cache, limit = PartitionCache(), 55
    tallies = [CacheCounts() for _ in range(4)]

    def work(tally: CacheCounts, seed: int) -> None:
        for letter in np.random.default_rng(seed).integers(0, 9, 500):
            with cache.using(letter, lambda: Fake(10), limit, tally) as partition:
                assert partition.bytes == 10

    threads = [threading.Thread(target=work, args=(tally, i)) for i, tally in enumerate(tallies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(tally.hits + tally.misses == 500 for tally in tallies)
    final = CacheCounts()
    with cache.using(0, lambda: Fake(10), limit, final):
        pass
    assert final.bytes == 50
