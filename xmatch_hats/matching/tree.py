"""Candidates by a k-d tree over the unit vectors of the right side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from xmatch_hats.matching import pairs
from xmatch_hats.matching.pairs import Candidates, Floats, Integers
from xmatch_hats.sphere import chord_of_arcsec, unit_vectors


class TreeFinder:
    """Finds candidates in three dimensions, where poles and RA 0 are places like any other.

    Parameters
    ----------
    left, right : tuple of ndarray of float64
        Right ascensions and declinations in degrees, each of shape (n,) and (m,); all of them valid positions.
    """

    def __init__(self, left: tuple[Floats, Floats], right: tuple[Floats, Floats]) -> None:
        self._left = unit_vectors(*left)
        # One tree serves one batch: building it well would cost more than it saves.
        self._tree = cKDTree(unit_vectors(*right), balanced_tree=False, compact_nodes=False)

    def find(self, rows: Integers, radius_arcsec: float, limit: int | None) -> Iterator[Candidates]:
        """List all rows within a radius, in blocks; see `Finder`."""
        chord = chord_of_arcsec(radius_arcsec)
        counts = np.asarray(self._tree.query_ball_point(self._left[rows], chord, return_length=True), dtype=np.int64)
        crowded = counts > limit if limit is not None else np.zeros(len(rows), dtype=bool)
        none = np.empty(0, np.int64)
        yield Candidates(none, none, rows[crowded])
        for block in _blocks(rows[~crowded], counts[~crowded]):
            lists = self._tree.query_ball_point(self._left[block], chord, return_sorted=False)
            lengths = np.fromiter((len(found) for found in lists), dtype=np.int64, count=len(lists))
            right = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(lengths.sum()))
            yield Candidates(np.repeat(block, lengths), right, none)


def _blocks(rows: Integers, counts: NDArray[np.int64]) -> Iterator[Integers]:
    """Split rows so that no block has more than the allowed candidates, unless one row alone has."""
    rows, counts = rows[counts > 0], counts[counts > 0]
    ends = np.cumsum(counts)
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + pairs.BLOCK_CANDIDATES, side="right")))
        yield rows[start:stop]
        start = stop
