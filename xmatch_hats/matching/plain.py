"""A plain table as the right side of a match: sorted in memory, wholly searched."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.matching.batch import Found, Positions
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import SortedSky, match_sorted
from xmatch_hats.sphere import PositionFault, position_faults


class PlainSide:
    """Rows of a table in memory.

    Ties go to the earlier row. Rows that have no position match nothing.

    Parameters
    ----------
    table : pyarrow.Table
        m rows.
    ra, dec : ndarray of float64, shape (m,)
        Their positions, degrees; invalid ones allowed.
    columns : list of str
        What to answer with.
    """

    def __init__(self, table: pa.Table, ra: NDArray[np.float64], dec: NDArray[np.float64], columns: list[str]) -> None:
        self._table = table.select(columns)
        rows = np.flatnonzero(position_faults(ra, dec) == PositionFault.NONE).astype(np.int64)
        self._sky = SortedSky.from_positions(ra[rows], dec[rows], rows)

    def match(self, positions: Positions, rule: MatchRule) -> Found:
        """Match some positions."""
        pairs = match_sorted(positions.ra, positions.dec, self._sky, rule)
        left = positions.rows[pairs.left]
        order = np.argsort(left, kind="stable")
        rows = self._table.take(pa.array(pairs.right[order]))
        return Found(left[order], pairs.rank[order], pairs.distance_arcsec[order], rows)
