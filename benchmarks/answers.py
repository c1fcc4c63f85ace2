"""Whether two ways gave the same matches: the same left rows, each once, at the same separations.

Which of two equally near sources a way took is not compared, as separations cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answer:
    """Nearest matches, by ascending left row."""

    left: NDArray[np.int64]
    """Left rows that have a match, shape (p,); one that is there twice is a difference."""
    separation_arcsec: NDArray[np.float64]
    """Shape (p,)."""

    @classmethod
    def of(cls, left: object, separation_arcsec: object) -> Answer:
        """Sort by left row."""
        rows = np.asarray(left, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        return cls(rows[order], np.asarray(separation_arcsec, dtype=np.float64)[order])

    @classmethod
    def of_batches(cls, answers: Sequence[Answer], rows: Sequence[int]) -> Answer:
        """Put answers of batches together, of so many rows each, as if it had been one batch."""
        first = np.concatenate([[0], np.cumsum(rows)[:-1]]).astype(np.int64)
        left = [answer.left + start for answer, start in zip(answers, first, strict=True)]
        return cls.of(np.concatenate(left), np.concatenate([answer.separation_arcsec for answer in answers]))


def difference(one: Answer, other: Answer, radius_arcsec: float, tolerance_arcsec: float) -> str:
    """Say how two answers differ; empty where they do not.

    Pairs within the tolerance of the radius may be missing from either: roundings decide on them. A separation that is
    no number equals only another one.
    """
    twice = [len(answer.left) - len(np.unique(answer.left)) for answer in (one, other)]
    if any(twice):
        return f"left rows have several matches: {twice[0]:,} here, {twice[1]:,} there"
    missing = _count_alone(one, other, radius_arcsec, tolerance_arcsec)
    beyond = _count_alone(other, one, radius_arcsec, tolerance_arcsec)
    if missing or beyond:
        return f"{missing:,} matches missing, {beyond:,} too many, of {len(one.left):,}"
    _, here, there = np.intersect1d(one.left, other.left, assume_unique=True, return_indices=True)
    ours, theirs = one.separation_arcsec[here], other.separation_arcsec[there]
    gap = np.abs(ours - theirs)
    # Not "greater than": a gap of NaN is none that is small.
    wrong = ~((gap <= tolerance_arcsec) | (np.isnan(ours) & np.isnan(theirs)))
    if not wrong.any():
        return ""
    numbers = gap[wrong & ~np.isnan(gap)]
    by = f"by up to {numbers.max():.3g} arcsec" if len(numbers) else "one of each two being no number"
    return f"{int(wrong.sum()):,} separations differ, {by}"


def _count_alone(one: Answer, other: Answer, radius_arcsec: float, tolerance_arcsec: float) -> int:
    """Left rows of the one that the other has not, those at the very radius left out."""
    is_unclear = np.abs(one.separation_arcsec - radius_arcsec) <= tolerance_arcsec
    return int((~np.isin(one.left, other.left) & ~is_unclear).sum())
