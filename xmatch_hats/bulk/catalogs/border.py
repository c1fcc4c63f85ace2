"""Which rows of a partition lie in the margins of others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.bulk.catalogs.partition import Integers
from xmatch_hats.bulk.catalogs.plan import Plan
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.matching.cells import crossing


def border_rows(index: Integers, tile: int, plan: Plan) -> tuple[Integers, NDArray[np.int32]]:
    """Find the rows that lie in a cell of the margin's order which touches another tile.

    These are the rows of the ring of cells around that tile: the rule of `xmatch_hats.catalogs.margins`, asked from the
    row's side.

    Parameters
    ----------
    index : ndarray of int64, shape (n,)
        Spatial indexes of rows of one tile.
    tile : int
        Number of that tile.
    plan : Plan

    Returns
    -------
    rows : ndarray of int64, shape (p,)
    takers : ndarray of int32, shape (p,)
        Numbers of the other tiles.
    """
    import cdshealpix.nested

    cells, place = np.unique(index >> 2 * (MAX_ORDER - plan.margin_order), return_inverse=True)
    depth = np.array([plan.margin_order - int(plan.tiles.orders[tile])])
    edge = np.flatnonzero(crossing(cells, depth))
    if len(edge) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    found = cdshealpix.nested.neighbours(cells[edge].astype(np.uint64), plan.margin_order, num_threads=1)
    around = np.asarray(found, np.int64)
    tiles = np.where(around < 0, tile, plan.tiles.of_cells(around, plan.margin_order))
    which, beside = np.nonzero(tiles != tile)
    # Cells touch some tiles with more than one of their neighbours.
    pairs = np.unique(np.stack((edge[which], tiles[which, beside])), axis=1)
    starts = np.searchsorted(pairs[0], np.arange(len(cells)))
    lengths = np.searchsorted(pairs[0], np.arange(len(cells)), side="right") - starts
    times = lengths[place]
    rows = np.repeat(np.arange(len(index)), times)
    steps = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    return rows, pairs[1][starts[place][rows] + steps].astype(np.int32)
