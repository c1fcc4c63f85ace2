"""Candidates by their places in positions that are sorted by their spatial index.

Discs of any size, the poles and RA 0 need no special case.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.healpix import MAX_ORDER, cells_of, cover_order, cover_ranges
from xmatch_hats.matching import pairs as matching
from xmatch_hats.matching.cells import crossing, list_candidates, radix_sort
from xmatch_hats.matching.pairs import Candidates, Pairs, Problem, is_ascending, match_pairs
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.sphere import ARCSEC_PER_RADIAN

_NO_BORDERS = (np.empty((0, 9), np.int64), np.empty((0, 9), np.int64))


@dataclass(frozen=True)
class SortedSky:
    """Positions sorted by spatial index, held in memory or mapped from a file: 24 bytes each.

    All of them are valid.
    """

    index: NDArray[np.int64]
    """Spatial indexes, ascending, shape (m,)."""
    ra: NDArray[np.float64]
    """Degrees, shape (m,)."""
    dec: NDArray[np.float64]
    """Degrees, shape (m,)."""
    rows: NDArray[np.int64] | None = None
    """Number of each position in the table it came from, shape (m,); None for 0, 1, 2, ..."""

    @classmethod
    def from_positions(
        cls, ra: ArrayLike, dec: ArrayLike, rows: NDArray[np.int64] | None = None, *, threads: int = 1
    ) -> SortedSky:
        """Sort positions.

        Parameters
        ----------
        ra, dec : array_like of float, shape (m,)
            Degrees; all of them valid positions.
        rows : ndarray of int64, shape (m,), optional
            Their row numbers; by default 0, 1, 2, ...
        threads : int, optional
            As of `cells_of`.
        """
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        index = cells_of(ra, dec, threads=threads)
        if is_ascending(index):
            return cls(index, ra, dec, np.arange(len(index)) if rows is None else rows)
        index, order = radix_sort(index)
        return cls(index, ra[order], dec[order], order if rows is None else rows[order])

    def __len__(self) -> int:
        return len(self.index)


class SortedFinder:
    """Finds candidates in a sorted sky.

    Parameters
    ----------
    index, ra, dec : ndarray, shape (n,)
        Spatial indexes and degrees of the left side; fastest where the indexes ascend.
    sky : SortedSky
        The right side; right rows count in its order.
    """

    def __init__(
        self, index: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64], sky: SortedSky
    ) -> None:
        self._left = _contiguous(index, ra, dec)
        self._right = _contiguous(sky.index, sky.ra, sky.dec)

    def find(self, rows: NDArray[np.int64], radius_arcsec: float, limit: int | None) -> Iterator[Candidates]:
        """List all rows within a radius, in blocks; see `Finder`."""
        index = self._left[0][rows]
        if not is_ascending(index):
            index, along = radix_sort(index)
            rows = rows[along]
        order = cover_order(radius_arcsec)
        borders = _borders(index, order, radius_arcsec)
        reach = _reach(radius_arcsec)
        size = min(matching.BLOCK_CANDIDATES, 1024 + 4 * len(rows))
        begin = (0, 0)
        while begin[0] < len(rows):
            left, right, crowded = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(len(rows), np.int64)
            *after, found, crowds = list_candidates(
                rows,
                begin,
                self._left,
                self._right,
                -1 if order is None else order,
                reach,
                borders,
                matching.NO_LIMIT if limit is None else limit,
                (left, right, crowded),
            )
            if after[0] == begin[0]:
                size *= 2  # for the one row that does not find room
            begin = (after[0], after[1])
            yield Candidates(left[:found], right[:found], crowded[:crowds])


def _borders(
    index: NDArray[np.int64], order: int | None, radius_arcsec: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranges around those positions whose blocks lie across a border of base cells, or around all of them."""
    if order is not None:
        index = index[crossing(index >> 2 * (MAX_ORDER - order), np.array([order]))]
        if len(index) == 0:
            return _NO_BORDERS
    return cover_ranges(index, radius_arcsec)


def _reach(radius_arcsec: float) -> tuple[float, float]:
    """Radius in degrees and as haversine, which near half a turn no longer tells small differences apart."""
    radius = min(radius_arcsec / ARCSEC_PER_RADIAN, math.pi)
    return math.degrees(radius), math.sin(0.5 * radius) ** 2 + 1e-12 * (radius > 1.0)


def _contiguous(
    index: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    return np.ascontiguousarray(index), np.ascontiguousarray(ra), np.ascontiguousarray(dec)


def match_sorted(
    ra: ArrayLike,
    dec: ArrayLike,
    sky: SortedSky,
    rule: MatchRule,
    *,
    ties: tuple[NDArray, ...] = (),
    index: NDArray[np.int64] | None = None,
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
    index : ndarray of int64, shape (n,), optional
        Spatial indexes of the positions, where they are known; fastest where they ascend.

    Returns
    -------
    Pairs
        With right rows numbered as in the table that the sky came from.
    """
    ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    finder = SortedFinder(cells_of(ra, dec) if index is None else index, ra, dec, sky)
    ties = ties if sky.rows is None else (*ties, sky.rows)
    pairs = match_pairs(Problem(finder, (ra, dec), (sky.ra, sky.dec), ties, rule))
    if sky.rows is None:
        return pairs
    return Pairs(pairs.left, sky.rows[pairs.right], pairs.distance_arcsec, pairs.rank)
