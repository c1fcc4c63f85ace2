"""Whether two ways gave the same matches: the same left rows at the same separations.

Which of two equally near sources a way took is not compared, as separations cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Answer:
    """Nearest matches, by ascending left row."""

    left: NDArray[np.int64]
    """Left rows that have a match, shape (p,), each once."""
    separation_arcsec: NDArray[np.float64]
    """Shape (p,)."""

    @classmethod
    def of(cls, left: object, separation_arcsec: object) -> Answer:
        """Sort by left row."""
        rows = np.asarray(left, dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        return cls(rows[order], np.asarray(separation_arcsec, dtype=np.float64)[order])


def difference(one: Answer, other: Answer, radius_arcsec: float, tolerance_arcsec: float) -> str:
    """Say how two answers differ; empty where they do not.

    Pairs within the tolerance of the radius are left out: roundings decide on them.
    """
    if len(np.unique(other.left)) != len(other.left):
        return "a left row has several matches"
    clear = radius_arcsec - tolerance_arcsec
    missing = int((~np.isin(one.left[one.separation_arcsec < clear], other.left)).sum())
    beyond = int((~np.isin(other.left[other.separation_arcsec < clear], one.left)).sum())
    if missing or beyond:
        return f"{missing:,} matches missing, {beyond:,} too many, of {len(one.left):,}"
    _, here, there = np.intersect1d(one.left, other.left, assume_unique=True, return_indices=True)
    gap = np.abs(one.separation_arcsec[here] - other.separation_arcsec[there])
    wrong = int((gap > tolerance_arcsec).sum())
    return f"{wrong:,} separations differ, by up to {gap.max():.3g} arcsec" if wrong else ""
