"""astropy's ``match_to_catalog_sky``, from parquet to parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u
from astropy.coordinates import SkyCoord

TOLERANCE_ARCSEC = 1e-6
"""Its separations near 1 arcsec are good to about 1e-9, those of the KD-tree's chords are not used."""


def match_tables(left: Path, right: Path, out: Path, radius_arcsec: float = 1.0) -> None:
    """Match the nearest within a radius, and write left and right columns with the separation."""
    tables = [pq.read_table(path) for path in (left, right)]
    here, there = (SkyCoord(table["ra"].to_numpy() * u.deg, table["dec"].to_numpy() * u.deg) for table in tables)
    index, separation, _ = here.match_to_catalog_sky(there)
    arcsec = separation.arcsec
    kept = np.flatnonzero(arcsec <= radius_arcsec)
    write_joined(tables[0].take(pa.array(kept)), tables[1].take(pa.array(index[kept])), arcsec[kept], out)


def write_joined(left: pa.Table, right: pa.Table, arcsec: np.ndarray, out: Path) -> None:
    """Put rows side by side; what both have is called ``_right`` on the right."""
    joined = left
    for name in right.column_names:
        joined = joined.append_column(f"{name}_right" if name in left.column_names else name, right[name])
    pq.write_table(joined.append_column("_dist_arcsec", pa.array(arcsec)), out)
