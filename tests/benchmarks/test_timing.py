"""Ways run in turn, and every answer of the first is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.answers import Answer
from benchmarks.timing import Turns, Way, in_turn

ROWS = 3


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed here."""
    monkeypatch.setattr("benchmarks.timing.gc.collect", lambda: None)


def batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(ROWS, number / 100), np.arange(ROWS) / 1000


def search(given: tuple[np.ndarray, np.ndarray]) -> Answer:
    """A match for every row but the first of each batch."""
    ra, dec = given
    rows = np.flatnonzero(dec > 0)
    return Answer.of(rows, (ra + dec)[rows])


def wrong_at(number: int) -> Callable[[Any], Answer]:
    def run(given: tuple[np.ndarray, np.ndarray]) -> Answer:
        answer = search(given)
        return Answer(answer.left[1:], answer.separation_arcsec[1:]) if given[0][0] == number / 100 else answer

    return run


def turns(run: Callable[[Any], Any], repeats: int, peer_repeats: int = 1, peer: Callable[[Any], Any] = search) -> Turns:
    ways = [Way("ours", run, lambda raw: raw, repeats), Way("peer", peer, lambda raw: raw, peer_repeats)]
    return in_turn(ways, batch, rounds=2, warm_ups=1, watched=False, say=lambda _: None)


@pytest.mark.parametrize("peer_repeats", [1, 2, 4])
def test_answers_that_agree(peer_repeats: int) -> None:
    found = turns(search, 4, peer_repeats)
    assert found.differences == []
    assert found.compared == 2 * 4 * (ROWS - 1)
    assert [len(found.timings[name].seconds) for name in ("ours", "peer")] == [8, 2 * peer_repeats]


@pytest.mark.parametrize("number", [4, 5, 7, 11])
@pytest.mark.parametrize("peer_repeats", [1, 4])
def test_a_wrong_answer_is_told_at_whichever_repeat(number: int, peer_repeats: int) -> None:
    found = turns(wrong_at(number), 4, peer_repeats)
    assert len(found.differences) == 1
    assert found.differences[0].startswith("peer against ours: 0 matches missing, 1 too many")


def test_ways_without_a_form_are_not_compared() -> None:
    found = in_turn([Way("ours", search), Way("peer", search)], batch, rounds=1, watched=False, say=lambda _: None)
    assert (found.compared, found.differences) == (0, [])
