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

from xmatch_hats.matching.cells import radix_sort
from xmatch_hats.matching.rule import MatchRule, pad
from xmatch_hats.sphere import separation_arcsec, unit_vectors

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

BLOCK_CANDIDATES = 1 << 19
"""Candidates judged at once. About 250 bytes each are alive together (two positions, differences, keys), so a block
takes some 130 MB; only a single row with more candidates than this takes more."""

CROWDED = 256
"""Candidates of one row, beyond which the nearest are first sought in a smaller disc."""

NO_LIMIT = 1 << 62
"""Candidates that no row can have."""

SMALLEST_ARCSEC = 1e-3
"""Discs are not shrunk below this: what is still crowded here lies on one spot."""


@dataclass(frozen=True)
class Candidates:
    """Some of the candidates of some rows: all those of a row together, or none."""

    left: Integers
    """Left rows, shape (m,); those of one row are adjacent."""
    right: Integers
    """Right rows, shape (m,)."""
    crowded: Integers
    """Left rows whose candidates are left out, because they have too many."""


class Finder(Protocol):
    """Proposes candidates for the rows of one left side among the rows of one right side."""

    def find(self, rows: Integers, radius_arcsec: float, limit: int | None) -> Iterator[Candidates]:
        """List all rows within a radius, and perhaps more, each pair once, in blocks.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            Left rows.
        radius_arcsec : float
        limit : int or None
            Rows with more candidates than this are crowded.

        Yields
        ------
        Candidates
            No more than `BLOCK_CANDIDATES`, unless one row alone has.
        """
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
    left: tuple[Floats, Floats]
    """Right ascensions and declinations in degrees, each of shape (n,)."""
    right: tuple[Floats, Floats]
    """The same, each of shape (m,)."""
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
    rows = np.arange(len(problem.left[0]), dtype=np.int64)
    rule, limit = problem.rule, _limit(problem.rule, problem.rule.radius_arcsec)
    found = list(_search(problem, rows, rule.radius_arcsec, limit)) if len(rows) and len(problem.right[0]) else []
    if not found:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.int32))
    left, right, separation, rank = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
    if is_ascending(left):
        return Pairs(left, right, separation, rank)
    # Each left row was judged at one place, so its pairs are in order already.
    left, order = radix_sort(left)
    return Pairs(left, right[order], separation[order], rank[order])


def rank_pairs(
    left: Integers, separation: NDArray[np.float64], ties: Sequence[NDArray], n_neighbors: int | None
) -> tuple[Integers, NDArray[np.int32]]:
    """Order pairs by left row, separation and ties, and cut each row to its nearest.

    Parameters
    ----------
    left : ndarray of int64, shape (p,)
        Left rows, in any order.
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
    rows, order = (left, np.arange(len(left))) if is_ascending(left) else radix_sort(left)
    # Most rows have one pair: only the others have something to sort.
    same = rows[1:] == rows[:-1]
    several = np.zeros(len(rows), dtype=bool)
    several[1:] = same
    several[:-1] |= same
    rank = np.ones(len(rows), dtype=np.int32)
    if several.any():
        among = order[several]
        among = among[np.lexsort((*(key[among] for key in reversed(ties)), separation[among], left[among]))]
        order[several] = among
        rank[several] = _places(left[among])
        if n_neighbors is not None:
            keep = rank <= n_neighbors
            order, rank = order[keep], rank[keep]
    return order, rank


def _places(rows: Integers) -> Integers:
    """Count the pairs of each row from 1; those of a row are adjacent."""
    first = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    return np.arange(1, len(rows) + 1) - np.repeat(first, np.diff(np.r_[first, len(rows)]))


def is_ascending(values: NDArray) -> bool:
    """Whether no value is below the one before it."""
    return bool((values[1:] >= values[:-1]).all())


_Found = tuple[Integers, Integers, Floats, NDArray[np.int32]]


def _limit(rule: MatchRule, radius_arcsec: float) -> int | None:
    """How many candidates a row may have before a smaller disc is tried; None where that cannot help."""
    if rule.n_neighbors is None or radius_arcsec / 4.0 <= max(SMALLEST_ARCSEC, rule.min_radius_arcsec):
        return None
    # More neighbours may be asked for than machine code counts candidates.
    return min(CROWDED * rule.n_neighbors, NO_LIMIT)


def _search(problem: Problem, rows: Integers, radius_arcsec: float, limit: int | None) -> Iterator[_Found]:
    """Judge the candidates within a radius, in blocks; where a row has a crowd, try a smaller disc first.

    ``k`` pairs within a smaller disc are the ``k`` nearest, whatever lies farther out.
    """
    for block in problem.finder.find(rows, pad(radius_arcsec), limit):
        yield _judge(problem, block, radius_arcsec)
        if len(block.crowded):
            wanting, smaller = block.crowded, radius_arcsec / 4.0
            for found in _search(problem, wanting, smaller, _limit(problem.rule, smaller)):
                full = np.isin(found[0], found[0][found[3] == problem.rule.n_neighbors])
                wanting = np.setdiff1d(wanting, found[0][full])
                yield tuple(column[full] for column in found)  # type: ignore[misc]
            yield from _search(problem, wanting, radius_arcsec, None)


def _judge(problem: Problem, block: Candidates, radius_arcsec: float) -> _Found:
    """Compute exact separations of candidates; keep, rank and cut what counts."""
    left, right = block.left, block.right
    here, there = ((ra[row], dec[row]) for (ra, dec), row in ((problem.left, left), (problem.right, right)))
    separation = separation_arcsec(unit_vectors(*here), unit_vectors(*there))
    keep = separation <= radius_arcsec
    if problem.rule.min_radius_arcsec > 0.0:
        keep &= separation > problem.rule.min_radius_arcsec
    left, right, separation = left[keep], right[keep], separation[keep]
    ties = [*(key[right] for key in problem.ties), right]
    order, rank = rank_pairs(left, separation, ties, problem.rule.n_neighbors)
    return left[order], right[order], separation[order], rank
