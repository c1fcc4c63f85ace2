"""Estimating a coverage from rows alone, for copies whose makers left no map.

Rows are counted in cells; the cells are as small as the copy's own median density allows, so that an empty cell means
that the copy ends there, not that the sky is thin. Occupied cells at the border of the occupied area may be covered in
part only, and are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from xmatch_hats import healpix
from xmatch_hats.catalogs.moc_files import moc_of

MIN_ROWS_PER_CELL = 30
"""At a mean of 30 rows, one cell in 1e13 is empty by chance."""
DEEPEST_ORDER = 14
"""Cells of 13 arcsec: 30 rows in each would be two million rows per square degree."""
MAX_CELLS = 12 << 20
"""Cells counted at once: the whole sky at order 10, which suits catalogues of a billion rows; where more are occupied,
counting goes on at a coarser order. A cell takes 12 bytes, 50 while parts are joined: less than 0.8 GB at worst."""


class _CellCounts:
    """Rows per cell, at the deepest order that keeps the number of cells within bounds."""

    def __init__(self) -> None:
        self.order = DEEPEST_ORDER
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        self._held = 0

    def add(self, healpix29: NDArray[np.integer]) -> None:
        shifted = np.asarray(healpix29, dtype=np.int64) >> (2 * (healpix.MAX_ORDER - self.order))
        if len(shifted) == 0:
            return
        if (shifted[1:] < shifted[:-1]).any():
            shifted = np.sort(shifted)
        starts = np.flatnonzero(np.r_[True, shifted[1:] != shifted[:-1]])
        counts = np.diff(np.r_[starts, len(shifted)]).astype(np.int32)
        self._parts.append((shifted[starts], counts))
        self._held += len(starts)
        if self._held > MAX_CELLS + MAX_CELLS // 4:
            self.consolidate()

    def consolidate(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Join all parts, and coarsen as the bound demands."""
        if not self._parts:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
        keys, counts = (np.concatenate(side) for side in zip(*self._parts, strict=True))
        # The parts are copied by now, and memory is short here.
        self._parts.clear()
        counted = _sum_equal(keys, counts)
        while len(counted[0]) > MAX_CELLS and self.order > 0:
            self.order -= 1
            counted = _sum_equal(counted[0] >> 2, counted[1])
        self._parts = [counted]
        self._held = len(counted[0])
        return counted


def _sum_equal(keys: NDArray[np.int64], counts: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    if (keys[1:] < keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    return keys[starts], np.add.reduceat(counts, starts, dtype=np.int32)


def estimate(arrays: Iterable[NDArray[np.integer]]) -> tuple[NDArray[np.int64], int]:
    """Estimate the covered cells.

    Parameters
    ----------
    arrays : iterable of ndarray of int
        Nested cells at order 29 of all rows, read once.

    Returns
    -------
    ranges : ndarray of int64, shape (m, 2)
        Covered cells; none if there are too few rows to tell.
    order : int
        Order of the cells that were counted.
    """
    counter = _CellCounts()
    for healpix29 in arrays:
        counter.add(healpix29)
    occupied, counts = counter.consolidate()
    order = counter.order
    while len(occupied) and np.median(counts) < MIN_ROWS_PER_CELL and order > 0:
        order -= 1
        occupied, counts = _sum_equal(occupied >> 2, counts)
    if len(occupied) == 0 or np.median(counts) < MIN_ROWS_PER_CELL:
        return np.empty((0, 2), dtype=np.int64), order
    inner = moc_of(healpix.ranges_of_cells(occupied, order), order).remove_neighbours()
    return inner.to_depth29_ranges.astype(np.int64).reshape(-1, 2), order
