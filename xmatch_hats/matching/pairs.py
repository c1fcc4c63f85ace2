"""From candidates to pairs: the one place where separations are judged, ranked and cut.

A *finder* proposes candidates, surely including every row within a radius; `match_pairs` computes the exact separations
and applies the rule. Finders differ in speed only, so that any two of them give the same pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.matching.rule import MatchRule, pad
from xmatch_hats.sphere import separation_arcsec

Integers = NDArray[np.int64]

BLOCK_CANDIDATES = 1 << 19
"""Candidates judged at once. About 150 bytes each are alive together (two positions, differences, keys), so a block
takes some 80 MB; only a single row with more candidates than this takes more."""

CROWDED = 256
"""Candidates of one row, beyond which the nearest are first sought in a smaller disc."""

SMALLEST_ARCSEC = 1e-3
"""Discs are not shrunk below this: what is still crowded here lies on one spot."""


class Finder(Protocol):
    """Proposes candidates for the rows of one left side among the rows of one right side."""

    def counts(self, rows: Integers, radius_arcsec: float) -> Integers:
        """Count the candidates of each of the left ``rows``."""
        ...

    def candidates(self, rows: Integers, radius_arcsec: float) -> tuple[Integers, Integers]:
        """List all candidates: left rows and right rows, shape (m,), in any order, each pair once."""
        ...


@dataclass(frozen=True)
class Pairs:
    """Pairs by left row, then rank."""

    left: Integers
    """Left rows, shape (p,)."""
    right: Integers
    """Right rows, shape (p,)."""
    distance_arcsec: NDArray[np.float64]
    """Exact separations, shape (p,)."""
    rank: NDArray[np.int32]
    """1 for the nearest, shape (p,)."""

    def __len__(self) -> int:
        return len(self.left)


@dataclass(frozen=True)
class Problem:
    """Two sides, a finder over them, and the rule."""

    finder: Finder
    left_xyz: NDArray[np.float64]
    """Unit vectors, shape (n, 3)."""
    right_xyz: NDArray[np.float64]
    """Unit vectors, shape (m, 3)."""
    ties: Sequence[NDArray]
    """What equal separations are ordered by, each of shape (m,), the most important first; the right row comes last."""
    rule: MatchRule


def match_pairs(problem: Problem) -> Pairs:
    """Find all pairs that a rule asks for, exactly.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Pairs
        By left row and rank.
    """
    rows = np.arange(len(problem.left_xyz), dtype=np.int64)
    found = list(_search(problem, rows, problem.rule.radius_arcsec)) if len(problem.right_xyz) else []
    if not found:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.int32))
    left, right, separation, rank = (np.concatenate(column) for column in zip(*found, strict=True))
    # Each left row was judged at one place, so its pairs are in order already.
    order = np.argsort(left, kind="stable")
    return Pairs(left[order], right[order], separation[order], rank[order])


def rank_pairs(
    left: Integers, separation: NDArray[np.float64], ties: Sequence[NDArray], n_neighbors: int | None
) -> tuple[Integers, NDArray[np.int32]]:
    """Order pairs by left row, separation and ties, and cut each row to its nearest.

    Parameters
    ----------
    left : ndarray of int64, shape (p,)
        Left rows.
    separation : ndarray of float64, shape (p,)
    ties : sequence of ndarray, shape (p,)
        What equal separations are ordered by, the most important first.
    n_neighbors : int or None
        How many pairs of a row to keep; None keeps all.

    Returns
    -------
    order : ndarray of int64, shape (q,)
        The pairs that are kept, in order.
    rank : ndarray of int32, shape (q,)
        1 for the nearest of each row.
    """
    order = np.lexsort((*reversed(ties), separation, left))
    rows = left[order]
    first = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]]) if len(rows) else np.empty(0, np.int64)
    rank = np.arange(1, len(rows) + 1) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    if n_neighbors is not None:
        keep = rank <= n_neighbors
        order, rank = order[keep], rank[keep]
    return order.astype(np.int64), rank.astype(np.int32)


_Found = tuple[Integers, Integers, NDArray[np.float64], NDArray[np.int32]]


def _search(problem: Problem, rows: Integers, radius_arcsec: float) -> Iterator[_Found]:
    """Judge the candidates within a radius, in blocks; where a row has a crowd, try a smaller disc first.

    ``k`` pairs within a smaller disc are the ``k`` nearest, whatever lies farther out.
    """
    counts = problem.finder.counts(rows, pad(radius_arcsec))
    k, smaller = problem.rule.n_neighbors, radius_arcsec / 4.0
    if k is not None and smaller > max(SMALLEST_ARCSEC, problem.rule.min_radius_arcsec):
        crowded = counts > CROWDED * k
        if crowded.any():
            wanting = crowded.copy()
            for found in _search(problem, rows[crowded], smaller):
                full = np.isin(found[0], found[0][found[3] == k])
                wanting &= ~np.isin(rows, found[0][full])
                yield tuple(column[full] for column in found)  # type: ignore[misc]
            rows, counts = rows[~crowded | wanting], counts[~crowded | wanting]
    for block in _blocks(rows, counts):
        yield _judge(problem, block, radius_arcsec)


def _blocks(rows: Integers, counts: Integers) -> Iterator[Integers]:
    """Split rows so that no block has more than `BLOCK_CANDIDATES`, unless one row alone has."""
    rows, counts = rows[counts > 0], counts[counts > 0]
    ends = np.cumsum(counts)
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK_CANDIDATES, side="right")))
        yield rows[start:stop]
        start = stop


def _judge(problem: Problem, rows: Integers, radius_arcsec: float) -> _Found:
    """Compute exact separations of all candidates of some rows; keep, rank and cut what counts."""
    left, right = problem.finder.candidates(rows, pad(radius_arcsec))
    separation = separation_arcsec(problem.left_xyz[left], problem.right_xyz[right])
    keep = separation <= radius_arcsec
    if problem.rule.min_radius_arcsec > 0.0:
        keep &= separation > problem.rule.min_radius_arcsec
    left, right, separation = left[keep], right[keep], separation[keep]
    ties = [*(key[right] for key in problem.ties), right]
    order, rank = rank_pairs(left, separation, ties, problem.rule.n_neighbors)
    return left[order], right[order], separation[order], rank
