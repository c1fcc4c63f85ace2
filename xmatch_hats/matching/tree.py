"""Candidates by a k-d tree over the unit vectors of the right side."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from xmatch_hats.sphere import chord_of_arcsec


class TreeFinder:
    """Finds candidates in three dimensions, where poles and RA 0 are places like any other.

    Parameters
    ----------
    left_xyz, right_xyz : ndarray of float64, shape (n, 3) and (m, 3)
        Unit vectors, finite.
    """

    def __init__(self, left_xyz: NDArray[np.float64], right_xyz: NDArray[np.float64]) -> None:
        self._left = left_xyz
        # One tree serves one batch: building it well would cost more than it saves.
        self._tree = cKDTree(right_xyz, balanced_tree=False, compact_nodes=False)

    def counts(self, rows: NDArray[np.int64], radius_arcsec: float) -> NDArray[np.int64]:
        """Count the candidates of each of the left ``rows``."""
        chord = chord_of_arcsec(radius_arcsec)
        return np.asarray(self._tree.query_ball_point(self._left[rows], chord, return_length=True), dtype=np.int64)

    def candidates(self, rows: NDArray[np.int64], radius_arcsec: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """List all candidates: left rows and right rows, shape (m,)."""
        lists = self._tree.query_ball_point(self._left[rows], chord_of_arcsec(radius_arcsec), return_sorted=False)
        lengths = np.fromiter((len(found) for found in lists), dtype=np.int64, count=len(lists))
        right = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(lengths.sum()))
        return np.repeat(rows, lengths), right
