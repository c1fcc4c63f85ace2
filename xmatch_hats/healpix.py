"""HEALPix: cells of positions, ranges of cells, and the few cells that hold a disc.

Cells are nested. A *range* array has shape (m, 2), int64: half-open ranges of cells at order 29, sorted and disjoint.
Every cell of every order is one such range, so sets of cells of mixed orders become plain sorted integers, and so do
the positions of a HATS catalogue, whose column ``_healpix_29`` holds their cells at order 29.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cdshealpix.nested
import numpy as np
from astropy import units as u
from astropy.coordinates import Longitude
from cdshealpix import cdshealpix as rust
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.sphere import ARCSEC_PER_RADIAN

MAX_ORDER = 29
"""The deepest there is, and the order of the index of a HATS catalogue."""
FULL_SKY_END = 12 << (2 * MAX_ORDER)

NEIGHBOUR_WIDTH_RAD = 0.66
"""Times ``2**-order``: a lower bound of the distance from a cell to the nearest point that lies neither in it nor in a
cell touching it. Measured between the borders it falls from 0.84 at order 0 to 0.697 at order 6 and levels off near
0.69; the narrowest places lie on the meridians where the polar base cells meet."""


def cells_of(ra: ArrayLike, dec: ArrayLike, order: int = MAX_ORDER, threads: int = 1) -> NDArray[np.int64]:
    """Cells of positions, by the very arithmetic that builds the index of a HATS catalogue.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Degrees; any finite right ascension, declination within -90...90.
    order : int
    threads : int, optional
        One by default: many callers run side by side already. 0 is one for each core.

    Returns
    -------
    ndarray of int64, shape (n,)

    Raises
    ------
    ValueError
        A declination out of range.
    """
    lon, lat = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    cells = np.empty(len(lon), dtype=np.uint64)
    if len(lon) == 0:
        return cells.view(np.int64)
    if not (lat.min() >= -90.0 and lat.max() <= 90.0):
        raise ValueError("declinations must lie within -90...90 degrees")
    if not (lon.min() >= 0.0 and lon.max() < 360.0):
        lon = np.asarray(Longitude(lon, u.deg))
    # The public function wants astropy's angles, which cost more than the cells: this is what it does with them.
    lon, lat, orders = np.radians(lon), np.radians(lat), np.broadcast_to(np.uint8(order), len(lon))
    rust.lonlat_to_healpix(orders, lon, lat, cells, np.empty_like(lon), np.empty_like(lat), np.uint16(threads))
    return cells.view(np.int64)


def centres_of(cells: NDArray[np.integer], order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of cells: right ascensions and declinations, degrees."""
    if len(cells) == 0:
        return np.empty(0), np.empty(0)
    lon, lat = cdshealpix.nested.healpix_to_lonlat(cells.astype(np.uint64), order, num_threads=1)
    return np.asarray(lon.deg), np.asarray(lat.deg)


def cell_radius_rad(order: int) -> float:
    """Largest distance from the centre of any cell of an order to a point of that cell, radians.

    The widest cells touch the parallel ``sin(dec) = 2/3`` from above, and their widest corner lies on it (Gorski et al.
    2005, ApJ 622, 759, section 5).
    """
    nside = 1 << order
    z_corner, z_centre = 2.0 / 3.0, 1.0 - (1.0 - 1.0 / nside) ** 2 / 3.0
    half_width = np.pi / (4 * nside)
    rho_corner, rho_centre = np.sqrt(1.0 - z_corner**2), np.sqrt(1.0 - z_centre**2)
    chord = np.sqrt(
        (rho_corner * np.cos(half_width) - rho_centre) ** 2
        + (rho_corner * np.sin(half_width)) ** 2
        + (z_corner - z_centre) ** 2
    )
    # The differences of nearly equal numbers lose up to seven digits at order 29.
    return float(2.0 * np.arcsin(chord / 2.0) * (1.0 + 1e-6))


def cover_order(radius_arcsec: float) -> int | None:
    """Deepest order at which a cell and its neighbours hold every disc that is centred in the cell.

    Parameters
    ----------
    radius_arcsec : float
        Radius of the discs.

    Returns
    -------
    int or None
        None if not even base cells are wide enough (beyond 37.8 degrees): then only the whole sky holds them.
    """
    if radius_arcsec <= 0.0:
        return MAX_ORDER
    ratio = NEIGHBOUR_WIDTH_RAD / (radius_arcsec / ARCSEC_PER_RADIAN)
    return None if ratio < 1.0 else min(MAX_ORDER, int(math.log2(ratio)))


def cover_ranges(index: NDArray[np.int64], radius_arcsec: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranges of cells at order 29 that cover the discs around positions.

    Parameters
    ----------
    index : ndarray of int64, shape (n,)
        Cells at order 29 of the centres.
    radius_arcsec : float
        Radius of the discs.

    Returns
    -------
    starts, stops : ndarray of int64, shape (n, m)
        Half-open and disjoint within a row; ``m`` is 9, or 1 where the whole sky is needed. Missing neighbours (some
        cells at the corners of base cells have seven) are empty ranges.
    """
    order = cover_order(radius_arcsec)
    if order is None:
        whole = np.zeros((len(index), 1), dtype=np.int64)
        return whole, whole + (12 << (2 * MAX_ORDER))
    shift = 2 * (MAX_ORDER - order)
    cells, place = np.unique(index >> shift, return_inverse=True)
    if len(cells) == 0:
        return np.empty((0, 9), dtype=np.int64), np.empty((0, 9), dtype=np.int64)
    block = np.sort(np.asarray(cdshealpix.nested.neighbours(cells.astype(np.uint64), order), dtype=np.int64), axis=1)
    # Base cells can be neighbours twice over; a range taken twice would double its rows.
    block[:, 1:][block[:, 1:] == block[:, :-1]] = -1
    missing = block < 0
    starts = np.where(missing, 0, block) << shift
    stops = np.where(missing, 0, block + 1) << shift
    return starts[place], stops[place]


def ranges_of_cells(cells: NDArray[np.integer], order: int) -> NDArray[np.int64]:
    """Ranges that cover cells of one order.

    Parameters
    ----------
    cells : ndarray of int, shape (n,)
        In any order, repeated ones allowed.
    order : int

    Returns
    -------
    ndarray of int64, shape (m, 2)
    """
    shift = 2 * (MAX_ORDER - order)
    starts = np.unique(np.asarray(cells, dtype=np.int64)) << shift
    return merge_ranges(np.stack((starts, starts + (1 << shift)), axis=-1))


def merge_ranges(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort ranges, and join those that overlap or touch."""
    if len(ranges) == 0:
        return np.empty((0, 2), dtype=np.int64)
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reach = np.maximum.accumulate(ranges[:, 1])
    first = np.r_[True, ranges[1:, 0] > reach[:-1]]
    last = np.r_[first[1:], True]
    return np.stack((ranges[first, 0], reach[last]), axis=-1)


def shrink_ranges(ranges: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Ranges of those cells of an order that lie wholly within ranges."""
    shift = 2 * (MAX_ORDER - order)
    size = 1 << shift
    lower = (ranges[:, 0] + size - 1) >> shift
    upper = ranges[:, 1] >> shift
    keep = lower < upper
    return np.stack((lower[keep], upper[keep]), axis=-1) << shift


def grow_ranges(ranges: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Ranges of those cells of an order that overlap ranges."""
    shift = 2 * (MAX_ORDER - order)
    size = 1 << shift
    lower = ranges[:, 0] >> shift
    upper = (ranges[:, 1] + size - 1) >> shift
    return merge_ranges(np.stack((lower, upper), axis=-1) << shift)


def in_ranges(cells: NDArray[np.int64], ranges: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which cells of order 29 lie in ranges: bool, shape (n,)."""
    if len(ranges) == 0:
        return np.zeros(len(cells), dtype=bool)
    at = np.searchsorted(ranges[:, 0], cells, side="right") - 1
    return (at >= 0) & (cells < ranges[np.maximum(at, 0), 1])


def overlap_ranges(starts: NDArray[np.int64], ends: NDArray[np.int64], ranges: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which half-open intervals of cells of order 29 share a cell with ranges: bool, shape (n,)."""
    if len(ranges) == 0:
        return np.zeros(len(starts), dtype=bool)
    at = np.searchsorted(ranges[:, 1], starts, side="right")
    return (at < len(ranges)) & (ranges[np.minimum(at, len(ranges) - 1), 0] < ends)


def check_ranges(ranges: NDArray[np.int64]) -> bool:
    """Whether an array holds what this module calls ranges, within the sky."""
    if len(ranges) == 0:
        return True
    ordered = bool((ranges[:, 0] < ranges[:, 1]).all() and (ranges[1:, 0] >= ranges[:-1, 1]).all())
    return ordered and int(ranges[0, 0]) >= 0 and int(ranges[-1, 1]) <= FULL_SKY_END


def cells_in_ranges(ranges: NDArray[np.int64], order: int, block: int = 1 << 20) -> Iterator[NDArray[np.int64]]:
    """Cells of an order that ranges consist of, in blocks that bound the memory (`block` cells of 8 bytes)."""
    shift = 2 * (MAX_ORDER - order)
    for start, end in (ranges >> shift).tolist():
        for low in range(start, end, block):
            yield np.arange(low, min(end, low + block), dtype=np.int64)


def sky_fraction(ranges: NDArray[np.int64]) -> float:
    """Fraction of the sky that ranges cover."""
    return float((ranges[:, 1] - ranges[:, 0]).astype(np.float64).sum() / FULL_SKY_END)
