"""Real copies for tests, built in a second in this process (the first one pays seconds for imports)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.importer import build_copy


def make_copy(table: pa.Table, folder: Path, **settings) -> LocalCopy:
    """Build a copy of a table in `folder`; settings as `build_copy` takes them."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = folder.parent / f"{folder.name}.source.parquet"
    pq.write_table(table, source)
    return build_copy([source], folder, **{"workers": 0, **settings})


def sky_table(n: int, seed: int = 0, **columns) -> pa.Table:
    """Positions uniform on the sphere with an id and a value; other columns may be added."""
    rng = np.random.default_rng(seed)
    values = {
        "ra": rng.uniform(0.0, 360.0, n),
        "dec": np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n))),
        "source_id": np.arange(n, dtype=np.int64) + 10**18,
        "flux": rng.normal(size=n).astype(np.float32),
    }
    return pa.table({**values, **columns})


def patch_table(n: int, ra: float, dec: float, size_deg: float, seed: int = 0) -> pa.Table:
    """Positions uniform on a cap of radius `size_deg` around a point, pole included."""
    rng = np.random.default_rng(seed)
    theta = np.arccos(1.0 - rng.uniform(0.0, 1.0, n) * (1.0 - np.cos(np.radians(size_deg))))
    phi = rng.uniform(0.0, 2.0 * np.pi, n)
    local = np.stack((np.cos(theta), np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi)), axis=-1)
    lon, lat = np.radians(ra), np.radians(dec)
    x = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    y = np.array([-np.sin(lon), np.cos(lon), 0.0])
    vectors = local[:, :1] * x + local[:, 1:2] * y + local[:, 2:] * np.cross(x, y)
    return pa.table(
        {
            "ra": np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360.0,
            "dec": np.degrees(np.arcsin(np.clip(vectors[:, 2], -1.0, 1.0))),
            "source_id": np.arange(n, dtype=np.int64),
        }
    )
