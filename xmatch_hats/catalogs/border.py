"""The outer border of a set of cells: how far a position lies from all that is not covered."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from xmatch_hats import healpix
from xmatch_hats.catalogs.moc_files import moc_of
from xmatch_hats.sphere import ARCSEC_PER_RADIAN, unit_vectors

MAX_BORDER_CELLS = 2_000_000
"""Border cells held at most, about 100 bytes each in the tree. A map that has more is searched as its own inner map of
a coarser order."""
CHEAP_BORDER_CELLS = 100_000
"""A short border is searched at finer cells than the map's own, which brings the answers closer to the true border."""
FINEST_ORDER = 17
"""Cells of 1.6 arcsec: there is nothing to gain below the radius of a usual match."""


class Border:
    """The cells outside a set that touch it.

    Any path from a covered position to one that is not covered enters such a cell first. So a disc is covered if it
    reaches none of them, which holds if all their centres are further away than the radius and the size of a cell.

    Parameters
    ----------
    ranges : ndarray of int64, shape (m, 2)
        The set, neither empty nor the whole sky.
    order : int
        Order of the finest cells of the set.
    """

    def __init__(self, ranges: NDArray[np.int64], order: int) -> None:
        self._interiors: dict[int, NDArray[np.int64]] = {}
        self._ranges, self.order, self._cells = _choose_order(ranges, order)

    @cached_property
    def _tree(self) -> cKDTree:
        ra, dec = healpix.centres_of(self._cells, self.order)
        return cKDTree(unit_vectors(ra, dec))

    def interior(self, radius_rad: float) -> NDArray[np.int64]:
        """Ranges of cells all of whose positions keep a radius away from the border (not all such cells)."""
        wide = healpix.cover_order(radius_rad * ARCSEC_PER_RADIAN)
        if wide is None:
            return np.empty((0, 2), dtype=np.int64)
        order = min(self.order, wide)
        if order not in self._interiors:
            shrunk = healpix.shrink_ranges(self._ranges, order)
            # By way of the outside: mocpy takes seconds to remove the border of a deep map, milliseconds to add one.
            rim = moc_of(healpix.ranges_of_cells(_outer_cells(shrunk, order), order), order).add_neighbours()
            inner = moc_of(shrunk, order).difference(rim)
            self._interiors[order] = inner.to_depth29_ranges.astype(np.int64).reshape(-1, 2)
        return self._interiors[order]

    def further_than(self, ra: NDArray[np.float64], dec: NDArray[np.float64], radius_rad: float) -> NDArray[np.bool_]:
        """Which positions, degrees, lie in the set with all of a disc around them: bool, shape (n,)."""
        covered = healpix.in_ranges(healpix.cells_of(ra, dec), self._ranges)
        reach = min(np.pi, radius_rad + healpix.cell_radius_rad(self.order))
        # Slightly more than the chord, as rounding must not let a disc through.
        chord = 2.0 * np.sin(reach / 2.0) * (1.0 + 1e-12) + 1e-14
        at = np.flatnonzero(covered)
        nearest, _ = self._tree.query(unit_vectors(ra[at], dec[at]), distance_upper_bound=chord)
        covered[at] = np.isinf(nearest)
        return covered


def _choose_order(ranges: NDArray[np.int64], order: int) -> tuple[NDArray[np.int64], int, NDArray[np.int64]]:
    """The set, the order and the border cells to search with; the count of these doubles from order to order."""
    at = min(order, 8)
    chosen: tuple[NDArray[np.int64], int, NDArray[np.int64]] | None = None
    while at <= max(order, FINEST_ORDER):
        inner = healpix.shrink_ranges(ranges, at)
        border = _outer_cells(inner, at)
        limit = MAX_BORDER_CELLS if at <= order else CHEAP_BORDER_CELLS
        if chosen is not None and len(border) > limit:
            break
        if len(inner):
            chosen = (inner, at, border)
        at += 1
    return chosen if chosen is not None else (ranges, order, _outer_cells(ranges, order))


def _outer_cells(ranges: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    if len(ranges) == 0:
        return np.empty(0, dtype=np.int64)
    # Not one MOC twice: add_neighbours changes the MOC it is called on.
    return moc_of(ranges, order).add_neighbours().difference(moc_of(ranges, order)).flatten().astype(np.int64)
