"""When two ways of matching count as having given the same."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.answers import Answer, difference

NAN = float("nan")
SAME = Answer.of([3, 1, 2], [0.3, 0.1, 0.2])


def differ(one: Answer, other: Answer) -> str:
    """Compared from both sides, which must agree on whether there is a difference."""
    there, back = (difference(*pair, 1.0, 1e-9) for pair in ((one, other), (other, one)))
    assert bool(there) == bool(back)
    return there


def test_order_and_roundings_are_no_difference() -> None:
    assert differ(SAME, Answer.of([1, 2, 3], [0.1, 0.2 + 1e-10, 0.3])) == ""
    assert differ(Answer.of([], []), Answer.of([], [])) == ""


def test_a_separation_that_differs_is_told() -> None:
    assert differ(SAME, Answer.of([1, 2, 3], [0.1, 0.2, 0.31])) == "1 separations differ, by up to 0.01 arcsec"


def test_a_left_row_that_is_there_twice_is_told_of_either_side() -> None:
    twice = Answer.of([1, 1, 2, 3], [0.1, 0.1, 0.2, 0.3])
    assert differ(twice, SAME) == "left rows have several matches: 1 here, 0 there"
    assert differ(twice, twice) == "left rows have several matches: 1 here, 1 there"


def test_no_number_equals_only_another_one() -> None:
    one = Answer.of([1, 2], [NAN, 0.2])
    assert differ(one, Answer.of([1, 2], [NAN, 0.2])) == ""
    assert differ(one, Answer.of([1, 2], [0.5, 0.2])) == "1 separations differ, one of each two being no number"
    assert differ(one, Answer.of([1, 2], [0.5, 0.3])) == "2 separations differ, by up to 0.1 arcsec"
    assert differ(one, Answer.of([2], [0.2])) == "1 matches missing, 0 too many, of 2"


@pytest.mark.parametrize(("separation", "is_same"), [(1.0, True), (1 + 5e-10, True), (0.999, False), (1.5, False)])
def test_a_row_may_be_missing_only_at_the_radius(separation: float, is_same: bool) -> None:
    more = Answer.of([1, 2, 3, 4], [0.1, 0.2, 0.3, separation])
    assert (differ(SAME, more) == "") == is_same


def test_answers_of_batches_are_that_of_one() -> None:
    together = Answer.of_batches([Answer.of([1, 0], [0.2, 0.1]), Answer.of([], []), Answer.of([1], [0.3])], [2, 3, 2])
    np.testing.assert_array_equal(together.left, [0, 1, 6])
    np.testing.assert_array_equal(together.separation_arcsec, [0.1, 0.2, 0.3])
