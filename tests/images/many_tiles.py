"""Many tiles over a catalogue, and a process of its own that matches them and tells how much memory it took.

``python -m tests.images.many_tiles COPY TILES OUT CACHE_BYTES`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.images.ldac import write_ldac
from tests.matching.exposure import peak_bytes

DENSITY_DEG2 = 18_100
SIDE_DEG = 0.5
"""Of a tile."""
CENTRE = (0.0, 12.0)
"""Of the field, degrees: across RA 0."""
RADIUS = 1.0


def write_sources(folder: Path, rows: int, files: int = 20) -> list[Path]:
    """Rows in a band of 30 degrees of declination about the field, as wide as their number asks for."""
    low, high = np.sin(np.radians((CENTRE[1] - 15.0, CENTRE[1] + 15.0)))
    width = min(360.0, rows / DENSITY_DEG2 / np.degrees(high - low))
    paths = []
    for number in range(files):
        rng = np.random.default_rng(number)
        n = rows // files
        ids = np.arange(n) + number * n
        columns = {
            "ra": (CENTRE[0] + width * (rng.random(n) - 0.5)) % 360.0,
            "dec": np.degrees(np.arcsin(rng.uniform(low, high, n))),
            "source_id": ids,
            "gmag": rng.normal(18.0, 2.0, n).astype(np.float32),
            "label": pa.array(np.char.add("J", ids.astype(str))),
        }
        paths.append(folder / f"part{number:02d}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def write_tiles(folder: Path, tiles: int, rows: int, ra: np.ndarray, dec: np.ndarray) -> list[dict]:
    """Tiles side by side in a square field, half of their rows near rows of the catalogue; gives their columns."""
    across = int(np.ceil(np.sqrt(tiles)))
    columns = []
    for tile in range(tiles):
        rng = np.random.default_rng(10_000 + tile)
        west, south = ((place - across / 2.0) * SIDE_DEG for place in (tile % across, tile // across))
        x = CENTRE[0] + (west + SIDE_DEG * rng.random(rows)) / np.cos(np.radians(CENTRE[1] + south))
        y = CENTRE[1] + south + SIDE_DEG * rng.random(rows)
        inside = np.flatnonzero((np.abs(dec - y.mean()) < SIDE_DEG / 2) & (np.abs(ra - x.mean()) < SIDE_DEG / 2))
        if len(inside):
            near = inside[rng.integers(0, len(inside), rows // 2)]
            x[: rows // 2], y[: rows // 2] = ra[near], dec[near] + rng.normal(0.0, 0.4 / 3600.0, rows // 2)
        own = {"X_WORLD": x % 360.0, "Y_WORLD": y, "MAG_AUTO": rng.uniform(16, 25, rows).astype("f4")}
        write_ldac(folder / f"sexcat-{tile}.fits", own, epochs=2)
        columns.append(own)
    return columns


def main(copy: str, tiles: str, out: str, cache_bytes: str) -> None:
    from xmatch_hats.images.match_tables import MatchJob, match_tables
    from xmatch_hats.matching.targets import CatalogTarget

    paths = sorted(Path(tiles).glob("*.fits"), key=lambda path: int(path.stem.partition("-")[2]))
    target = CatalogTarget(copy, name="big", radius_arcsec=RADIUS)
    told = match_tables(paths, target, MatchJob(Path(out), cache_bytes=int(cache_bytes)))
    report = {
        "peak": peak_bytes(),
        "rows": sum(file.counts["in"] for file in told),
        "matched": [file.counts["matched"] for file in told],
        "outside": sum(file.counts["outside_coverage"] for file in told),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
