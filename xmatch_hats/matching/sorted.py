"""Candidates by binary search in positions that are sorted by their spatial index.

The disc around a position lies within its cell and the cell's 8 neighbours, at the deepest order whose cells are wide
enough; each of those cells is one range of the sorted positions. Discs of any size, the poles and RA 0 need no special
case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.healpix import cells_of, cover_ranges
from xmatch_hats.matching.pairs import Finder, Pairs, Problem, match_pairs
from xmatch_hats.matching.partitions import expand_ranges
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.tree import TreeFinder
from xmatch_hats.sphere import unit_vectors


@dataclass(frozen=True)
class SortedSky:
    """Positions sorted by spatial index, held in memory: 40 bytes each."""

    index: NDArray[np.int64]
    """Spatial indexes, ascending, shape (m,)."""
    xyz: NDArray[np.float64]
    """Unit vectors in the same order, shape (m, 3)."""
    rows: NDArray[np.int64]
    """Number of each position in the table it came from, shape (m,)."""

    @classmethod
    def from_positions(cls, ra: ArrayLike, dec: ArrayLike, rows: NDArray[np.int64] | None = None) -> SortedSky:
        """Sort positions.

        Parameters
        ----------
        ra, dec : array_like of float, shape (m,)
            Degrees; all of them valid positions.
        rows : ndarray of int64, shape (m,), optional
            Their row numbers; by default 0, 1, 2, ...
        """
        index = cells_of(ra, dec)
        order = np.argsort(index, kind="stable")
        xyz = unit_vectors(ra, dec)[order]
        return cls(index[order], xyz, order.astype(np.int64) if rows is None else rows[order])

    def __len__(self) -> int:
        return len(self.index)


class SortedFinder:
    """Finds candidates in a sorted sky.

    Parameters
    ----------
    left_index : ndarray of int64, shape (n,)
        Spatial indexes of the left side.
    sky : SortedSky
        The right side; right rows count in its order.
    """

    def __init__(self, left_index: NDArray[np.int64], sky: SortedSky) -> None:
        self._left = left_index
        self._sky = sky

    def counts(self, rows: NDArray[np.int64], radius_arcsec: float) -> NDArray[np.int64]:
        """Count the candidates of each of the left ``rows``."""
        _, lengths = self._ranges(rows, radius_arcsec)
        return lengths.sum(axis=1)

    def candidates(self, rows: NDArray[np.int64], radius_arcsec: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """List all candidates: left rows and right rows, shape (m,)."""
        first, lengths = self._ranges(rows, radius_arcsec)
        return np.repeat(rows, lengths.sum(axis=1)), expand_ranges(first.ravel(), lengths.ravel())

    def _ranges(self, rows: NDArray[np.int64], radius_arcsec: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        starts, stops = cover_ranges(self._left[rows], radius_arcsec)
        first = np.searchsorted(self._sky.index, starts)
        lengths = np.searchsorted(self._sky.index, stops) - first
        return first.astype(np.int64), np.maximum(lengths, 0).astype(np.int64)


def match_sorted(
    ra: ArrayLike,
    dec: ArrayLike,
    sky: SortedSky,
    rule: MatchRule,
    *,
    ties: tuple[NDArray, ...] = (),
    use_tree: bool = False,
) -> Pairs:
    """Match positions against a sorted sky.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Degrees; all of them valid positions.
    sky : SortedSky
        The right side.
    rule : MatchRule
        Which pairs are asked for.
    ties : tuple of ndarray, shape (m,), optional
        What equal separations are ordered by, in the order of the sky; by default and at last its ``rows``.
    use_tree : bool, optional
        Find candidates by a k-d tree instead: another way to the same pairs.

    Returns
    -------
    Pairs
        With right rows numbered as in the table that the sky came from.
    """
    left_xyz = unit_vectors(ra, dec)
    finder: Finder = TreeFinder(left_xyz, sky.xyz) if use_tree else SortedFinder(cells_of(ra, dec), sky)
    pairs = match_pairs(Problem(finder, left_xyz, sky.xyz, (*ties, sky.rows), rule))
    return Pairs(pairs.left, sky.rows[pairs.right], pairs.distance_arcsec, pairs.rank)
