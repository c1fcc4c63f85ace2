"""Positions on the sphere: validity, unit vectors, exact separations.

Everything is float64. The separation is ``2 asin(chord / 2)``, exact to about 1e-11 arcsec for the small angles of a
crossmatch, where ``acos`` of a dot product would lose half of the digits.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ARCSEC_PER_RADIAN",
    "RA_MAX_DEG",
    "RA_MIN_DEG",
    "PositionFault",
    "chord_of_arcsec",
    "offsets_arcsec",
    "position_faults",
    "separation_arcsec",
    "unit_vectors",
]

ARCSEC_PER_RADIAN = 180.0 * 3600.0 / np.pi

RA_MIN_DEG, RA_MAX_DEG = -360.0, 720.0
"""Right ascensions accepted, in degrees: a turn to either side, so that wrapped frames and offsets work; beyond that
a value is more likely a unit error (hours, radians, arcseconds) than a position."""


class PositionFault(IntEnum):
    """Why a position cannot be matched; zero is no fault."""

    NONE = 0
    RA_NOT_FINITE = 1
    DEC_NOT_FINITE = 2
    RA_OUT_OF_RANGE = 3
    DEC_OUT_OF_RANGE = 4

    @property
    def reason(self) -> str:
        """What to tell people, empty for no fault."""
        return _REASONS[self]


_REASONS = {
    PositionFault.NONE: "",
    PositionFault.RA_NOT_FINITE: "right ascension is missing, NaN or infinite",
    PositionFault.DEC_NOT_FINITE: "declination is missing, NaN or infinite",
    PositionFault.RA_OUT_OF_RANGE: f"right ascension outside {RA_MIN_DEG:g}...{RA_MAX_DEG:g} degrees",
    PositionFault.DEC_OUT_OF_RANGE: "declination outside -90...90 degrees",
}


def position_faults(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.uint8]:
    """Tell for each position why it cannot be matched.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Degrees.

    Returns
    -------
    ndarray of uint8, shape (n,)
        Values of `PositionFault`; where several apply, the first in its order.

    Examples
    --------
    >>> position_faults([10.0, np.nan, 10.0], [0.0, 0.0, 95.0])
    array([0, 1, 4], dtype=uint8)
    """
    ra = np.asarray(ra, dtype=np.float64)
    dec = np.asarray(dec, dtype=np.float64)
    faults = np.zeros(ra.shape, dtype=np.uint8)
    with np.errstate(invalid="ignore"):
        faults[(dec < -90.0) | (dec > 90.0)] = PositionFault.DEC_OUT_OF_RANGE
        faults[(ra < RA_MIN_DEG) | (ra > RA_MAX_DEG)] = PositionFault.RA_OUT_OF_RANGE
    faults[~np.isfinite(dec)] = PositionFault.DEC_NOT_FINITE
    faults[~np.isfinite(ra)] = PositionFault.RA_NOT_FINITE
    return faults


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors of positions.

    Parameters
    ----------
    ra, dec : array_like of float, shape (n,)
        Degrees.

    Returns
    -------
    ndarray of float64, shape (n, 3)
    """
    lon = np.radians(np.asarray(ra, dtype=np.float64))
    lat = np.radians(np.asarray(dec, dtype=np.float64))
    cos_lat = np.cos(lat)
    return np.stack((cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)), axis=-1)


def separation_arcsec(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angular separations of pairs of unit vectors.

    Parameters
    ----------
    a, b : ndarray of float64, shape (n, 3)
        Unit vectors, as `unit_vectors` gives them.

    Returns
    -------
    ndarray of float64, shape (n,)
        Arcseconds.

    Examples
    --------
    >>> separation_arcsec(unit_vectors([10.0], [0.0]), unit_vectors([10.0], [1 / 3600])).round(9)
    array([1.])
    """
    d = a - b
    chord = np.sqrt(d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2])
    return 2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0)) * ARCSEC_PER_RADIAN


def chord_of_arcsec(radius_arcsec: float) -> float:
    """Length of the chord under an angle in arcseconds."""
    return float(2.0 * np.sin(0.5 * min(radius_arcsec / ARCSEC_PER_RADIAN, np.pi)))


def offsets_arcsec(
    ra: ArrayLike, dec: ArrayLike, from_ra: ArrayLike, from_dec: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets of positions from others near them, in the plane that touches the sphere there (gnomonic projection).

    Parameters
    ----------
    ra, dec, from_ra, from_dec : array_like of float, of shapes that fit each other
        Degrees.

    Returns
    -------
    east, north : ndarray of float64
        Arcseconds; ``east`` is what is often written as the difference in right ascension times cos(dec), and right at
        the poles, too. NaN a quarter turn away, where the plane ends.
    """
    turn = np.radians(np.asarray(ra, dtype=np.float64) - np.asarray(from_ra, dtype=np.float64))
    lat, lat0 = (np.radians(np.asarray(angle, dtype=np.float64)) for angle in (dec, from_dec))
    # Differences of nearly equal numbers would lose half of the digits: this is the same, rearranged.
    half = np.sin(turn / 2.0)
    lift = 2.0 * half * half * np.cos(lat)
    depth = np.cos(lat - lat0) - lift * np.cos(lat0)
    depth = np.where(depth > 1e-9, depth, np.nan)
    east = np.cos(lat) * np.sin(turn) / depth
    north = (np.sin(lat - lat0) + lift * np.sin(lat0)) / depth
    return east * ARCSEC_PER_RADIAN, north * ARCSEC_PER_RADIAN


def __dir__() -> list[str]:
    return sorted(__all__)
