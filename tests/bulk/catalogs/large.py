"""Two catalogues as large as wanted, at the density of real ones, without margins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from tests.bulk.catalogs.skies import write_plain
from tests.oracle import ARCSEC, xyz

DENSITY_DEG2 = 18_100
"""Rows of the right side."""


def make_large(folder: Path, left_rows: int, right_rows: int, orders: tuple[int, int], seed: int = 21):
    """Write both sides in partitions of these orders; give them as frames."""
    rng = np.random.default_rng(seed)
    size = np.sqrt(right_rows / DENSITY_DEG2)
    right = pd.DataFrame(
        {
            "ra": (rng.uniform(0, size, right_rows) - size / 3) % 360.0,
            "dec": rng.uniform(-size / 2, size / 2, right_rows).clip(-89, 89),
            "cntr": np.arange(right_rows),
            "w1mpro": rng.normal(16, 1, right_rows).round(3).astype(np.float32),
        }
    )
    right["designation"] = np.char.add("J", np.arange(right_rows).astype("U12"))
    chosen = right.iloc[rng.integers(0, right_rows, left_rows)]
    left = pd.DataFrame(
        {
            "ra": (chosen["ra"].to_numpy() + rng.normal(0, 3e-4, left_rows)) % 360.0,
            "dec": chosen["dec"].to_numpy() + rng.normal(0, 3e-4, left_rows),
            "oid": np.arange(left_rows),
            "meanmag": rng.normal(19, 1, left_rows).astype(np.float32),
        }
    )
    write_plain(left, folder / "left", orders[0])
    write_plain(right, folder / "right", orders[1])
    return left, right


def nearest(left, right, radius_arcsec):
    """Pairs of ids by a tree over all of the right side."""
    tree = cKDTree(xyz(right["ra"], right["dec"]))
    chord, place = tree.query(xyz(left["ra"], left["dec"]), workers=-1)
    found = 2 * np.arcsin(chord / 2) * ARCSEC <= radius_arcsec
    return left["oid"].to_numpy()[found], right["cntr"].to_numpy()[place[found]]
