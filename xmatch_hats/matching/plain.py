"""A plain table as the right side of a match: sorted in memory, wholly searched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from xmatch_hats.matching.batch import Found, Positions
from xmatch_hats.matching.pairs import Floats, Integers, rank_pairs
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import SortedSky, match_sorted
from xmatch_hats.sphere import PositionFault, position_faults

THREADS = os.cpu_count() or 1
PART_ROWS = 500_000
"""Rows of the table for which a thread of their own is worth its while."""


class PlainSide:
    """Rows of a table in memory, which threads begin to sort at once: whoever has positions to sort does so meanwhile.

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

    def __init__(self, table: pa.Table, ra: Floats, dec: Floats, columns: list[str]) -> None:
        self._table = table.select(columns)
        self._ra, self._dec = ra, dec
        threads = ThreadPoolExecutor(THREADS)
        self._skies = [threads.submit(self._sorted, part) for part in self._parts()]
        threads.shutdown(wait=False)

    def match(self, positions: Positions, rule: MatchRule) -> Found:
        """Match some positions, with each part of the table in a thread of its own."""

        def with_part(sky: Future[SortedSky]) -> tuple[Integers, Integers, Floats]:
            pairs = match_sorted(positions.ra, positions.dec, sky.result(), rule, index=positions.index)
            return positions.rows[pairs.left], pairs.right, pairs.distance_arcsec

        with ThreadPoolExecutor(THREADS) as threads:
            found = list(threads.map(with_part, self._skies))
        left, right, separation = (np.concatenate(column) for column in zip(*found, strict=True))
        order, rank = rank_pairs(left, separation, [right], rule.n_neighbors)
        return Found(left[order], rank, separation[order], self._table.take(pa.array(right[order])))

    def _parts(self) -> Iterator[slice]:
        number = max(1, min(THREADS, len(self._ra) // PART_ROWS))
        ends = np.linspace(0, len(self._ra), number + 1).astype(int).tolist()
        return map(slice, ends[:-1], ends[1:])

    def _sorted(self, part: slice) -> SortedSky:
        ra, dec = self._ra[part], self._dec[part]
        rows = np.flatnonzero(position_faults(ra, dec) == PositionFault.NONE)
        if len(rows) < len(ra):
            ra, dec = ra[rows], dec[rows]
        return SortedSky.from_positions(ra, dec, rows + part.start)
