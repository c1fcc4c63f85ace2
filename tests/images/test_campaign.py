"""A thousand tiles against twenty million rows, in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from scipy.spatial import cKDTree

from tests.images.many_tiles import CENTRE, RADIUS, write_sources, write_tiles
from tests.oracle import ARCSEC, xyz
from xmatch_hats.catalogs.importer import build_copy

ROWS = int(os.environ.get("XMATCH_HATS_CAMPAIGN_ROWS", 20_000_000))
TILES = int(os.environ.get("XMATCH_HATS_CAMPAIGN_TILES", 1_000))
ROWS_PER_TILE = 4_000
CACHE_BYTES = 256 << 20
PEAK_BYTES = 1 << 30
"""The tiles have as many bytes again, and the catalogue more."""


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_many_tiles_against_many_rows(tmp_path, record_property):
    for name in ("sources", "tiles"):
        (tmp_path / name).mkdir()
    sources = write_sources(tmp_path / "sources", ROWS)
    copy = build_copy(sources, tmp_path / "big", workers=2, coverage="all-sky")
    table = pa.concat_tables([pq.read_table(path, columns=["ra", "dec", "source_id"]) for path in sources])
    ra, dec, ids = (table[name].to_numpy() for name in table.column_names)
    ra = (ra - CENTRE[0] + 180.0) % 360.0 - 180.0 + CENTRE[0]
    field = np.flatnonzero((np.abs(ra - CENTRE[0]) < 10.0) & (np.abs(dec - CENTRE[1]) < 9.0))
    ra, dec, ids = ra[field], dec[field], ids[field]
    columns = write_tiles(tmp_path / "tiles", TILES, ROWS_PER_TILE, ra, dec)
    words = [sys.executable, "-m", "tests.images.many_tiles", str(copy.path), str(tmp_path / "tiles")]
    run = subprocess.run(
        [*words, str(tmp_path / "out"), str(CACHE_BYTES)], capture_output=True, text=True, check=True
    )  # fmt: skip
    report = json.loads(run.stdout.splitlines()[-1])
    record_property("tiles", TILES)
    record_property("rows of the tiles", report["rows"])
    record_property("rows of the catalogue", copy.total_rows)
    record_property("peak MiB", report["peak"] >> 20)
    assert report["rows"] == TILES * ROWS_PER_TILE
    assert report["outside"] == 0
    tree = cKDTree(xyz(ra, dec))
    for tile, own in enumerate(columns):
        chord, place = tree.query(xyz(own["X_WORLD"], own["Y_WORLD"]), workers=-1)
        separation = 2.0 * np.arcsin(chord / 2.0) * ARCSEC
        found = np.flatnonzero(separation <= RADIUS)
        with fits.open(tmp_path / "out" / f"cat_matched-{tile}.fits") as made:
            data = made["MATCHED"].data
            np.testing.assert_array_equal(data["NUMBER"], found + 1)
            np.testing.assert_array_equal(data["source_id"], ids[place[found]])
            np.testing.assert_allclose(data["distance"], separation[found], rtol=0, atol=1e-8)
        assert report["matched"][tile] == len(found)
    assert sum(report["matched"]) > TILES * ROWS_PER_TILE / 3
    assert report["peak"] < PEAK_BYTES
