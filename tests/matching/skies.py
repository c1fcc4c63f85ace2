"""Small skies that gather where geometry is hard, and local HATS copies of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ARCSEC = 1.0 / 3600.0
ASIN_TWO_THIRDS = float(np.degrees(np.arcsin(2.0 / 3.0)))
"""41.81 degrees: where HEALPix' equatorial belt ends, and the widest corner of base cells lies."""

PLACES = {
    "north pole": (123.0, 90.0),
    "south pole": (321.0, -90.0),
    "RA 0": (0.0, 12.0),
    "RA 0 on the equator": (0.0, 0.0),
    "base corner 45 0": (45.0, 0.0),
    "base corner north": (0.0, ASIN_TWO_THIRDS),
    "base corner south": (90.0, -ASIN_TWO_THIRDS),
    "belt edge": (45.0, ASIN_TWO_THIRDS),
    "polar meridian": (90.0, 75.0),
    "order 5 corner": (47.8125, 29.99999),
    "plain": (200.0, -35.0),
}
KEYED = """
name = "mine"
title = "Mine"
description = "Rows with a key."
frame = "ICRS"
epoch = 2000.0
ra_column = "ra"
dec_column = "dec"
id_column = "key"
label_column = "key"
default_columns = ["ra", "dec", "key"]

[[groups]]
columns = [
  { name = "ra", type = "float64", unit = "deg" },
  { name = "dec", type = "float64", unit = "deg" },
  { name = "key", type = "int64" },
]
"""
"""Definition of a catalogue whose id column is called key."""


def clump(rng, ra, dec, size, spread_deg):
    """Positions around a place (or one around each of several), evenly in all directions, poles included."""
    angle, distance = rng.uniform(0, 2 * np.pi, size), np.radians(spread_deg * np.sqrt(rng.uniform(0, 1, size)))
    lat, lon = np.radians(dec), np.radians(ra)
    # Steps along and across the meridian, and outward, turned to where the place is: nothing divides by cos(lat).
    north, east, out = np.cos(angle) * np.sin(distance), np.sin(angle) * np.sin(distance), np.cos(distance)
    radial = out * np.cos(lat) - north * np.sin(lat)
    x = radial * np.cos(lon) - east * np.sin(lon)
    y = radial * np.sin(lon) + east * np.cos(lon)
    z = out * np.sin(lat) + north * np.cos(lat)
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))


def offset(rng, ra, dec, spread_arcsec):
    """Move each position a little, evenly in all directions."""
    ra, dec = np.asarray(ra), np.asarray(dec)
    return clump(rng, ra, dec, len(ra), spread_arcsec * ARCSEC)


@dataclass
class Sky:
    """A right side as a frame with an id, and a left side near it."""

    frame: pd.DataFrame
    ra: np.ndarray
    dec: np.ndarray

    @property
    def ids(self):
        return self.frame["cntr"].to_numpy()


def catalog_frame(rng, ra, dec):
    """Rows whose ids are too large for a float and follow no order."""
    n = len(ra)
    return pd.DataFrame(
        {
            "ra": ra,
            "dec": dec,
            "cntr": (rng.permutation(n) + 9_007_199_254_740_993).astype(np.int64),
            "w1mpro": rng.normal(15, 2, n).astype(np.float32),
            "designation": [f"J{i:09d}" for i in range(n)],
        }
    )


def rough_sky(rng, *, right=300, left=400, offset_arcsec=8.0, background=1000):
    """Clumps at every place, some rows on one spot, a thin background; positions near rows and anywhere."""
    parts = [clump(rng, *place, right // 4, 0.003) for place in PLACES.values()]
    parts += [clump(rng, *place, right - right // 4, 0.3) for place in PLACES.values()]
    lon, lat = rng.uniform(0, 360, background), np.degrees(np.arcsin(rng.uniform(-1, 1, background)))
    ra, dec = (np.concatenate(x) for x in zip(*parts, (lon, lat), strict=True))
    doubled = rng.integers(0, len(ra), 200)
    ra, dec = np.r_[ra, ra[doubled]], np.r_[dec, dec[doubled]]
    near = rng.integers(0, len(ra), left * len(PLACES))
    left_ra, left_dec = offset(rng, ra[near], dec[near], offset_arcsec)
    exact = rng.integers(0, len(ra), 100)
    far = clump(rng, 10.0, 10.0, 100, 180.0)
    return Sky(catalog_frame(rng, ra, dec), np.r_[left_ra, ra[exact], far[0]], np.r_[left_dec, dec[exact], far[1]])


def write_copy(frame, path: Path, *, partition_rows=350, margin_arcsec=10.0, name="sky") -> Path:
    """Write a HATS collection with a margin cache: a foreign one, made by LSDB itself."""
    import lsdb

    catalog = lsdb.from_dataframe(
        frame,
        partition_rows=partition_rows,
        margin_threshold=margin_arcsec,
        highest_order=7,
        catalog_name=name,
    )
    catalog.write_catalog(path / name, as_collection=True, catalog_name=name, progress_bar=False)
    return path / name


def partition_files(path: Path, kind: str = "main") -> list[Path]:
    """Data files of a collection's main table or margin."""
    margins = [p for p in path.rglob("Npix=*.parquet") if p.relative_to(path).parts[0].endswith("arcs")]
    if kind == "margin":
        return sorted(margins)
    return sorted(set(path.rglob("Npix=*.parquet")) - set(margins))
