"""Catalogues that meet where geometry is hard: each in fine and in coarse partitions, with holes and without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.copies import make_copy
from tests.matching.skies import rough_sky
from tests.oracle import brute_force
from xmatch_hats.bulk.catalogs.metadata import write_table
from xmatch_hats.bulk.catalogs.write import TableWriter
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import partition_path
from xmatch_hats.healpix import cells_of


@dataclass
class Pair:
    """Two catalogues as frames, and their folders: bare catalogues on the left, copies with margins on the right."""

    left: pd.DataFrame
    right: pd.DataFrame
    folder: Path

    def path(self, side: str, layout: str) -> Path:
        return self.folder / f"{side}_{layout}"

    def answer(self, radius_arcsec, k=1):
        """Pairs of ids by brute force, and their separations."""
        left, right = self.left, self.right
        found = brute_force(left["ra"], left["dec"], right["ra"], right["dec"], radius_arcsec, k=k)
        ids = zip(left["oid"].to_numpy()[found.left], right["cntr"].to_numpy()[found.right], strict=True)
        return dict(zip(ids, found.sep_arcsec, strict=True))


def make_pair(folder: Path) -> Pair:
    """Two catalogues, whose folders `write_pair` fills."""
    rng = np.random.default_rng(20250701)
    sky = rough_sky(rng, right=60, left=60, background=40)
    # Equal distances are for a test of their own.
    right = sky.frame.drop_duplicates(["ra", "dec"]).reset_index(drop=True)
    # Every other cell of the right side is a hole, and clumps lie on the corners of cells.
    right = right[cells_of(right["ra"], right["dec"], 3) % 2 == 0].reset_index(drop=True)
    # Under other names than ALLWISE's, whose definition would judge them.
    right = right.rename(columns={"designation": "title", "w1mpro": "flux"})
    right["mag"] = rng.normal(16.0, 1.0, len(right))
    # The last rows lie anywhere: where partitions are fine each is one of its own, so a few of them will do.
    ra, dec = sky.ra[:-80], sky.dec[:-80]
    left = pd.DataFrame(
        {
            "ra": ra,
            "dec": dec,
            "oid": np.arange(len(ra)) + 7_000_000_000_000_000_001,
            "mag": rng.normal(19.0, 1.0, len(ra)).astype(np.float32),
        }
    ).drop_duplicates(["ra", "dec"])
    return Pair(left.reset_index(drop=True), right, folder)


def write_pair(folder: Path) -> None:
    pair = make_pair(folder)
    for layout, order in (("fine", 4), ("coarse", 1)):
        write_plain(pair.left, pair.path("left", layout), order)
    for layout, rows in (("fine", 30), ("coarse", 10_000)):
        table = pa.Table.from_pandas(pair.right, preserve_index=False)
        make_copy(table, pair.path("right", layout), partition_rows=rows)


def write_plain(frame: pd.DataFrame, path: Path, order: int) -> None:
    """Write a bare catalogue, as of others, in partitions of one order."""
    index = cells_of(frame["ra"], frame["dec"])
    table = pa.Table.from_pandas(frame.assign(_healpix_29=index), preserve_index=False)
    table = table.replace_schema_metadata().sort_by("_healpix_29")
    pixels = table["_healpix_29"].to_numpy() >> 2 * (29 - order)
    written = []
    for pixel in np.unique(pixels).tolist():
        writer = TableWriter(partition_path(path, (order, pixel)), table.schema, path.parent / "scratch")
        writer.add(table.filter(pixels == pixel))
        written.append({"partition": (order, pixel), "rows": writer.close().rows})
    names = {"catalog_name": path.name, "catalog_type": "object", "ra_column": "ra", "dec_column": "dec"}
    write_table(path, written, table.schema, {**names, "hats_max_rows": max(part["rows"] for part in written)})


def main_table(path: Path) -> Path:
    """Folder of the main table of a collection: a catalogue of its own, without a margin."""
    return LocalCopy.open(path).main_path


def read_rows(path: Path) -> pa.Table:
    """All rows of a bare catalogue, by partition along the sphere."""
    copy = LocalCopy.open(path)
    files = [copy.partition_file(partition) for partition in copy.partitions]
    if not files:
        return copy.schema.empty_table()
    return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])


def count_rows(path: Path) -> int:
    """Let a catalogue's properties tell the rows that its files now have."""
    copy = LocalCopy.open(path)
    rows = sum(pq.read_metadata(copy.partition_file(partition)).num_rows for partition in copy.partitions)
    properties = copy.main_path / "hats.properties"
    properties.write_text(properties.read_text().replace(f"hats_nrows={copy.total_rows}", f"hats_nrows={rows}"))
    return rows
