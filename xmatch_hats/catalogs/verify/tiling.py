"""Which pixels lie within a distance of a position: exact, on the sphere, whatever the pixels' shapes.

HEALPix pixels have curved sides, kinks at ``|sin dec| = 2/3`` and corners where only three cells meet, so no formula
for the distance to a side is used. A pixel lies within the radius of a position exactly if one of its points does; that
is decided by halving cells: the centre of a cell is one of its points, and no point of it is further from the centre
than `cell_reach_arcsec`. Cells that neither settles are split in four, until the answer is known or the cells are
0.4 mas wide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cdshealpix
import numpy as np
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.healpix import FULL_SKY_END, MAX_ORDER, NEIGHBOUR_WIDTH_RAD, cover_order
from xmatch_hats.sphere import ARCSEC_PER_RADIAN, chord_of_arcsec, unit_vectors

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

REACH = 1.1
"""Largest distance from a cell's centre to a point of it, over the square root of the cell's area: 1.045 in the limit
of small cells, at the sheared ones where base pixels meet at ``|sin dec| = 2/3``; a little more for safety."""

PAIRS_AT_ONCE = 1 << 20
"""Bound on candidates of position and cell held at once: about 150 bytes each."""


def cell_size_arcsec(order: int) -> float:
    """Square root of the area of a cell, in arcseconds."""
    return float(np.sqrt(np.pi / 3.0) / 2.0**order * ARCSEC_PER_RADIAN)


def cell_reach_arcsec(order: int) -> float:
    """No point of a cell is further than this from the cell's centre, in arcseconds."""
    return REACH * cell_size_arcsec(order)


MAX_RADIUS_ARCSEC = NEIGHBOUR_WIDTH_RAD * ARCSEC_PER_RADIAN
"""Beyond it, a disc may reach further than the cells around the base cell of its centre."""


def cell_centres(cells: Ints, order: int) -> Floats:
    """Unit vectors of the centres of cells of one order, shape (n, 3)."""
    lon, lat = cdshealpix.healpix_to_lonlat(cells.astype(np.uint64), np.uint8(order), num_threads=1)
    lon, lat = lon.value, lat.value
    cos_lat = np.cos(lat)
    return np.stack((cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)), axis=-1)


@dataclass(frozen=True)
class Tiling:
    """Pixels of mixed orders that cover the sphere without overlap, sorted along the nested curve."""

    orders: Ints
    pixels: Ints
    starts: Ints
    """First cell of each pixel at order 29."""
    listed: NDArray[np.bool_]
    """False for the pixels that were added to fill the empty sky."""

    @classmethod
    def of(cls, partitions: Iterable[Partition]) -> Tiling:
        """Tile the sphere with partitions that do not overlap, and the largest pixels that fill what they leave."""
        listed = set(partitions)
        ranges = sorted((pixel << 2 * (MAX_ORDER - order), order) for order, pixel in listed)
        tiles = list(listed)
        reached = 0
        for start, order in [*ranges, (FULL_SKY_END, MAX_ORDER)]:
            tiles.extend(_fill(reached, start))
            reached = start + (1 << 2 * (MAX_ORDER - order))
        tiles.sort(key=lambda tile: tile[1] << 2 * (MAX_ORDER - tile[0]))
        orders = np.array([order for order, _ in tiles], dtype=np.int64)
        pixels = np.array([pixel for _, pixel in tiles], dtype=np.int64)
        return cls(orders, pixels, pixels << 2 * (MAX_ORDER - orders), np.array([tile in listed for tile in tiles]))

    def __len__(self) -> int:
        return len(self.orders)

    def owners(self, cells: Ints) -> Ints:
        """Number of the tile that holds each cell of order 29."""
        return np.searchsorted(self.starts, cells, side="right") - 1

    def partition(self, tile: int) -> Partition:
        """HEALPix order and nested pixel of a tile."""
        return int(self.orders[tile]), int(self.pixels[tile])

    def index(self) -> dict[Partition, int]:
        """Number of each tile."""
        return {self.partition(tile): tile for tile in range(len(self))}

    def near(self, cells: Ints, ra: Floats, dec: Floats, own: int, radius_arcsec: float) -> tuple[Ints, Ints]:
        """Pairs of a position of one tile and another tile within the radius of it.

        Parameters
        ----------
        cells : ndarray of int64, shape (n,)
            Order-29 cells of the positions.
        ra, dec : ndarray of float64, shape (n,)
            The positions, in degrees.
        own : int
            Tile that the positions lie in, not among the answers.
        radius_arcsec : float
            At most `MAX_RADIUS_ARCSEC`. A tile between 0.5 mas less than it and the radius itself may be left out.

        Returns
        -------
        rows, tiles : ndarray of int64, shape (p,)
            Numbers into `cells` and of tiles, each pair once.
        """
        order = cover_order(radius_arcsec) or 0
        coarse = cells >> 2 * (MAX_ORDER - order)
        chosen = np.flatnonzero(_on_border(coarse, order - int(self.orders[own])))
        vectors = unit_vectors(ra[chosen], dec[chosen])
        coarse, inverse = np.unique(coarse[chosen], return_inverse=True)
        homes, tiles, starts, levels = self._candidates(coarse, order, own)
        members = np.argsort(inverse, kind="stable")
        counts = np.bincount(inverse, minlength=len(coarse))
        firsts = np.cumsum(counts) - counts
        found_rows, found_tiles = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part in _parts(homes, counts[homes], PAIRS_AT_ONCE):
            spread = counts[homes[part]]
            within = np.arange(spread.sum()) - np.repeat(np.cumsum(spread) - spread, spread)
            rows = members[np.repeat(firsts[homes[part]], spread) + within]
            tile, start, level = (np.repeat(column[part], spread) for column in (tiles, starts, levels))
            kept_rows, kept_tiles = _refine(vectors, rows, tile, start, level, radius_arcsec)
            found_rows.append(chosen[kept_rows])
            found_tiles.append(kept_tiles)
        return np.concatenate(found_rows), np.concatenate(found_tiles)

    def _candidates(self, coarse: Ints, order: int, own: int) -> tuple[Ints, Ints, Ints, Ints]:
        """Parts of other tiles in the ring about each coarse cell: home (sorted), tile, cell, order of that cell."""
        shift = 2 * (MAX_ORDER - order)
        ring = cdshealpix.neighbours(coarse.astype(np.uint64), order, num_threads=1).ravel()
        home = np.repeat(np.arange(len(coarse)), 9)
        home, ring = home[ring >= 0], ring[ring >= 0]
        first, last = self.owners(ring << shift), self.owners(((ring + 1) << shift) - 1)
        foreign = (first != own) | (last != own)
        home, ring, first, last = home[foreign], ring[foreign], first[foreign], last[foreign]
        spread = last - first + 1
        within = np.arange(spread.sum()) - np.repeat(np.cumsum(spread) - spread, spread)
        home, ring = np.repeat(home, spread), np.repeat(ring, spread)
        tile = np.repeat(first, spread) + within
        level = np.maximum(self.orders[tile], order)
        cell = np.where(self.orders[tile] > order, self.pixels[tile], ring)
        other = tile != own
        return home[other], tile[other], cell[other], level[other]


def _on_border(cells: Ints, levels: int) -> NDArray[np.bool_]:
    """Whether cells `levels` orders below their tile touch its border; true of all where they are not below it.

    In the nested scheme the even bits of a cell within its tile are one coordinate and the odd bits the other. Most
    cells of a tile are not at its border, and need no look at their neighbours.
    """
    if levels <= 0:
        return np.ones(len(cells), dtype=bool)
    even = (4**levels - 1) // 3
    border = np.zeros(len(cells), dtype=bool)
    for axis in (even, even << 1):
        bits = cells & axis
        border |= (bits == 0) | (bits == axis)
    return border


def _fill(start: int, stop: int) -> Iterable[Partition]:
    """Largest pixels that cover the order-29 cells ``start <= cell < stop``."""
    while start < stop:
        level = MAX_ORDER
        while level > 0:
            width = 1 << 2 * (MAX_ORDER - level + 1)
            if start % width or start + width > stop:
                break
            level -= 1
        yield level, start >> 2 * (MAX_ORDER - level)
        start += 1 << 2 * (MAX_ORDER - level)


def _parts(homes: Ints, sizes: Ints, limit: int) -> Iterable[slice]:
    """Slices of candidates whose sizes sum to about the limit, never splitting the candidates of one home.

    All parts of one tile about one position must be decided together, or the pair would be found twice.
    """
    if not len(homes):
        return
    ends = np.append(np.flatnonzero(np.diff(homes)) + 1, len(homes))
    group = (np.cumsum(sizes)[ends - 1] - 1) // limit
    cuts = np.append(ends[:-1][np.diff(group) > 0], len(homes))
    begin = 0
    for end in cuts:
        yield slice(begin, int(end))
        begin = int(end)


def _refine(
    vectors: Floats, rows: Ints, tiles: Ints, cells: Ints, levels: Ints, radius_arcsec: float
) -> tuple[Ints, Ints]:
    """Pairs of row and tile of which one of the given cells of the tile reaches into the radius."""
    keys = np.stack((rows, tiles), axis=-1)
    pairs, pair = np.unique(keys, axis=0, return_inverse=True)
    pair = pair.ravel()
    settled = np.zeros(len(pairs), dtype=bool)
    inside = chord_of_arcsec(radius_arcsec) ** 2
    held, held_pair = np.empty(0, np.int64), np.empty(0, np.int64)
    last_start = int(levels.max(initial=0))
    for level in range(int(levels.min(initial=MAX_ORDER)), MAX_ORDER + 1):
        begin = levels == level
        held, held_pair = np.concatenate((held, cells[begin])), np.concatenate((held_pair, pair[begin]))
        if not len(held) and level >= last_start:
            break
        apart = cell_centres(held, level) - vectors[pairs[held_pair, 0]]
        chord2 = np.einsum("ij,ij->i", apart, apart)
        settled[held_pair[chord2 <= inside]] = True
        outside = chord_of_arcsec(radius_arcsec + cell_reach_arcsec(level)) ** 2
        open_ = (chord2 <= outside) & ~settled[held_pair]
        held, held_pair = held[open_], held_pair[open_]
        held = (4 * held[:, None] + np.arange(4)).ravel()
        held_pair = np.repeat(held_pair, 4)
    return pairs[settled, 0], pairs[settled, 1]
