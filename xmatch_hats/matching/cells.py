"""Positions as HEALPix cells: spatial indexes, and the few cells that cover a disc.

Everything is in the nested scheme; a *spatial index* is a cell of order 29, as in the column ``_healpix_29`` of a HATS
catalogue, so that cells of any order are ranges of spatial indexes.
"""

from __future__ import annotations

import math

import cdshealpix.nested as healpix
import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.sphere import ARCSEC_PER_RADIAN

SPATIAL_ORDER = 29
SPATIAL_INDEX_COLUMN = "_healpix_29"

NARROWEST_RADIANS = 0.66
"""Times ``2**-order``: a lower bound of the distance from a cell to the edge of the block of its 8 neighbours. Measured
between the borders themselves it falls from 0.84 at order 0 to 0.697 at order 6 and levels off near 0.69; the narrowest
blocks lie on the meridians where the polar base cells meet."""


def spatial_index(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Cells of order 29 of positions.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Degrees; finite, ``|dec| <= 90``. Right ascensions of any turn are wrapped.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    # A tiny negative remainder rounds up to 360 itself: the second remainder brings it to 0.
    lon = np.mod(np.mod(np.asarray(ra, dtype=np.float64), 360.0), 360.0)
    lat = np.asarray(dec, dtype=np.float64)
    cells = healpix.lonlat_to_healpix(Longitude(lon, u.deg), Latitude(lat, u.deg), SPATIAL_ORDER)
    return np.asarray(cells, dtype=np.int64)


def cover_order(radius_arcsec: float) -> int | None:
    """Deepest order at which a cell and its 8 neighbours cover every disc that is centred in the cell.

    Parameters
    ----------
    radius_arcsec : float
        Radius of the discs.

    Returns
    -------
    int or None
        None if not even base cells are wide enough (beyond 38 degrees): then only the whole sky covers them.
    """
    ratio = NARROWEST_RADIANS / (radius_arcsec / ARCSEC_PER_RADIAN)
    if ratio < 1.0:
        return None
    return min(SPATIAL_ORDER, int(math.log2(ratio)))


def cover_ranges(index: NDArray[np.int64], radius_arcsec: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranges of spatial indexes that cover the discs around positions.

    Parameters
    ----------
    index : ndarray of int64, shape (n,)
        Spatial indexes of the centres.
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
        return whole, whole + (12 << (2 * SPATIAL_ORDER))
    shift = 2 * (SPATIAL_ORDER - order)
    cells, place = np.unique(index >> shift, return_inverse=True)
    if len(cells) == 0:
        return np.empty((0, 9), dtype=np.int64), np.empty((0, 9), dtype=np.int64)
    block = np.sort(np.asarray(healpix.neighbours(cells.astype(np.uint64), order), dtype=np.int64), axis=1)
    # Base cells can be neighbours twice over; a range taken twice would double its rows.
    block[:, 1:][block[:, 1:] == block[:, :-1]] = -1
    missing = block < 0
    starts = np.where(missing, 0, block) << shift
    stops = np.where(missing, 0, block + 1) << shift
    return starts[place], stops[place]
