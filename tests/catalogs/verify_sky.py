"""A small sky that is hard on partition borders: clumps where HEALPix is odd, holes between them."""

from __future__ import annotations

import cdshealpix
import numpy as np
import pyarrow as pa

MARGIN_ARCSEC = 600.0

CORNERS = [
    (0.0, 90.0),
    (0.0, -90.0),
    (0.0, 0.0),
    (0.0, 41.8103148958),
    (90.0, -41.8103148958),
    (45.0, 0.0),
    (180.0, 41.8103148958),
    (225.0, 12.0),
]
"""Poles, RA 0, corners of base pixels (three cells only meet in those at |dec| = 41.81 degrees), and a plain place."""


def hard_sky(rows: int, spread_deg: float, seed: int = 11) -> tuple[np.ndarray, np.ndarray]:
    """Right ascension and declination in degrees, clumped about `CORNERS`."""
    rng = np.random.default_rng(seed)
    ra0, dec0 = np.array(CORNERS)[rng.integers(0, len(CORNERS), rows)].T
    lon, lat = np.radians(ra0), np.radians(dec0)
    centre = np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1)
    point = centre + rng.normal(size=(rows, 3)) * np.radians(spread_deg)
    point /= np.linalg.norm(point, axis=1)[:, None]
    ra = np.degrees(np.arctan2(point[:, 1], point[:, 0])) % 360.0
    return np.where(ra >= 360.0, 0.0, ra), np.degrees(np.arcsin(np.clip(point[:, 2], -1, 1)))


def half_empty_pixel() -> tuple[np.ndarray, np.ndarray]:
    """140 positions in two quarters of an order-5 pixel, close to its centre, so that the other quarters are empty."""
    rng = np.random.default_rng(5)
    pixel = 5000
    middle = _centre(5, pixel)
    ra, dec = [], []
    for child in (4 * pixel, 4 * pixel + 1):
        toward = _centre(6, child)
        ra.append(middle[0] + 0.15 * (toward[0] - middle[0]) + rng.normal(size=70) * 0.005)
        dec.append(middle[1] + 0.15 * (toward[1] - middle[1]) + rng.normal(size=70) * 0.005)
    return np.concatenate(ra), np.concatenate(dec)


def _centre(order: int, pixel: int) -> tuple[float, float]:
    lon, lat = cdshealpix.healpix_to_lonlat(np.array([pixel], np.uint64), np.uint8(order))
    return float(lon.deg[0]), float(lat.deg[0])


def hard_table(rows: int, spread_deg: float, seed: int = 11) -> pa.Table:
    """The sky as a catalogue with columns of several types, nulls among them; `rows` and the half empty pixel's."""
    rng = np.random.default_rng(seed)
    ra, dec = (np.concatenate(both) for both in zip(hard_sky(rows, spread_deg, seed), half_empty_pixel(), strict=True))
    rows = len(ra)
    return pa.table(
        {
            "source": pa.array(np.arange(rows) + (1 << 60)),
            "ra": ra,
            "dec": dec,
            "label": pa.array([f"J{number:06d}" if number % 7 else None for number in range(rows)]),
            "mag": pa.array(rng.normal(14, 2, rows), mask=rng.random(rows) < 0.1),
            "flag": pa.array(rng.integers(0, 3, rows), pa.int32()),
        }
    )
