"""Made nights of alerts: packets by fastavro, archives by tarfile, a sky that knows which alert has which neighbour."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.alerts.makers import raw
from tests.copies import make_copy, patch_table

SCHEMA = {
    "type": "record",
    "name": "alert",
    "namespace": "ztf",
    "version": "9.9",
    "fields": [
        {"name": "objectId", "type": "string"},
        {"name": "candid", "type": "long"},
        {
            "name": "candidate",
            "type": {
                "type": "record",
                "name": "candidate",
                "fields": [
                    {"name": "jd", "type": "double"},
                    {"name": "fid", "type": "int"},
                    {"name": "candid", "type": "long"},
                    {"name": "field", "type": ["null", "int"]},
                    {"name": "ra", "type": "double"},
                    {"name": "dec", "type": "double"},
                    {"name": "magpsf", "type": "float"},
                    {"name": "rb", "type": ["float", "null"]},
                ],
            },
        },
        {"name": "cutout", "type": "bytes"},
    ],
}
_PARSED = fastavro.parse_schema(json.loads(json.dumps(SCHEMA)))
_TEXT = json.dumps(SCHEMA).encode()


def alert(number: int, ra: float, dec: float, cutout: bytes = b"") -> dict:
    candidate = {
        "jd": 2458288.5 + number * 1e-5,
        "fid": 1 + number % 3,
        "candid": number,
        "field": None if number % 7 == 0 else 346,
        "ra": ra,
        "dec": dec,
        "magpsf": 18.25 + number % 4,
        "rb": None if number % 5 == 0 else 0.5,
    }
    return {"objectId": f"ZTF18a{number:07d}", "candid": number, "candidate": candidate, "cutout": cutout}


def packet(*alerts: dict) -> bytes:
    body = io.BytesIO()
    for one in alerts:
        fastavro.schemaless_writer(body, _PARSED, one)
    return raw(_TEXT, body.getvalue(), count=len(alerts))


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar archive, compressed if it is called so."""
    mode = "w" if path.name.endswith(".tar") else "w:gz"
    with tarfile.open(path, mode, **({} if mode == "w" else {"compresslevel": 1})) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_529_400_000
            tar.addfile(member, io.BytesIO(data))
    return path


@dataclass(frozen=True)
class Sky:
    """A catalogue, and positions of alerts: every other one lies 0.4 arcsec north of a row of it."""

    catalog: Path
    ra: np.ndarray
    dec: np.ndarray
    rows: pa.Table

    def packets(self, first: int = 0, count: int | None = None, cutout: bytes = b"") -> Iterable[tuple[str, bytes]]:
        count = len(self.ra) - first if count is None else count
        for number in range(first, first + count):
            yield f"{number}.avro", packet(alert(number, self.ra[number], self.dec[number], cutout))


def make_sky(folder: Path, alerts: int, rows: int = 20_000, size_deg: float = 2.0) -> Sky:
    sky = sky_in(folder, alerts, rows, size_deg)
    make_copy(sky.rows, sky.catalog, coverage="all-sky", name="stars")
    return sky


def sky_in(folder: Path, alerts: int, rows: int = 20_000, size_deg: float = 2.0) -> Sky:
    """What `make_sky` has made in a folder, or is to make."""
    table = patch_table(rows, 0.0, 0.0, size_deg, seed=1)
    table = table.append_column("mag", pa.array(np.linspace(10, 20, rows)))
    rng = np.random.default_rng(2)
    near = rng.integers(0, rows, alerts)
    far = patch_table(alerts, 0.0, 0.0, size_deg, seed=3)
    is_near = np.arange(alerts) % 2 == 0
    ra = np.where(is_near, table["ra"].to_numpy()[near], far["ra"].to_numpy())
    dec = np.where(is_near, table["dec"].to_numpy()[near] + 0.4 / 3600, far["dec"].to_numpy())
    return Sky(folder / "stars", ra, dec, table)


def read_output(folder: Path) -> pa.Table:
    """Rows of an output, whatever its form, in the order of the archive."""
    files = [
        path for path in sorted(folder.rglob("*.parquet")) if "_margin" not in str(path) and "_bulk" not in str(path)
    ]
    table = pa.concat_tables(pq.read_table(path, partitioning=None) for path in files)
    return table.sort_by([("archive_name", "ascending"), ("member", "ascending"), ("record", "ascending")])
