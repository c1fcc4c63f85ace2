"""The files of a catalogue that a join makes: its partitions, and the metadata that makes HATS of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats import __version__
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.encodings import encodings
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.errors import CatalogError
from xmatch_hats.healpix import MAX_ORDER

ROW_GROUP_ROWS = 65_536
"""Small enough to read a part of the sky alone, large enough for dictionaries to pay."""

COMPRESSION: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
"""With the encodings chosen here level 3 gives the same bytes and takes half as long again."""


@dataclass(frozen=True)
class Written:
    """A partition that was written."""

    partition: Partition
    rows: int
    cells: tuple[tuple[int, int], ...]
    """Occupied cells of the map's order, and their rows."""


def write_partition(table: pa.Table, path: Path, partition: Partition, map_order: int, scratch: Path) -> Written:
    """Write a partition aside, and move it to its place when it is on the disk.

    The same rows give the same bytes.

    Parameters
    ----------
    table : pyarrow.Table
        Sorted by spatial index.
    path : Path
    partition : tuple of (int, int)
    map_order : int
        HEALPix order in which its rows are counted.
    scratch : Path
        Folder of the same file system for what is not whole.

    Raises
    ------
    CatalogError
        It cannot be written.
    """
    try:
        with finished_whole(path, scratch) as file:
            pq.write_table(table, file, row_group_size=ROW_GROUP_ROWS, **COMPRESSION, **encodings(table))
    except OSError as error:
        raise CatalogError(f"cannot be written: {error.strerror or error}", place=path) from error
    cells, counts = np.unique(table[HEALPIX_COLUMN].to_numpy() >> 2 * (MAX_ORDER - map_order), return_counts=True)
    return Written(partition, table.num_rows, tuple(zip(cells.tolist(), counts.tolist(), strict=True)))


def write_record(text: str, path: Path, scratch: Path) -> None:
    """Write a small file, whole or not at all.

    Raises
    ------
    CatalogError
        It cannot be written.
    """
    try:
        with finished_whole(path, scratch) as file:
            file.write(text.encode())
    except OSError as error:
        raise CatalogError(f"cannot be written: {error.strerror or error}", place=path) from error


@contextmanager
def finished_whole(path: Path, scratch: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when it is whole and on the disk, or never.

    Two workers may do this with one path at the same time, as happens when one is taken for lost.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    temporary = scratch / uuid4().hex
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_metadata(
    folder: Path, written: Sequence[Written], schema: pa.Schema, map_order: int, properties: dict[str, Any]
) -> None:
    """Write everything that makes a HATS catalogue of partitions.

    Parameters
    ----------
    folder : Path
        Of the catalogue, with its partitions in it.
    written : sequence of Written
    schema : pyarrow.Schema
        Of the partitions.
    map_order : int
        Of the cells in `written`.
    properties : dict
        Name, type and coordinate columns, as `hats` calls them.

    Raises
    ------
    CatalogError
        A file cannot be written, or a partition cannot be read.
    """
    try:
        (folder / "dataset").mkdir(parents=True, exist_ok=True)
        _write_footers(folder, written, schema)
        _write_hats(folder, written, map_order, properties)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"cannot be written: {error}", place=folder) from error


def _write_footers(folder: Path, written: Sequence[Written], schema: pa.Schema) -> None:
    """Collect the footers, in the order that HATS lists partitions in."""
    footers = []
    for partition in sorted(part.partition for part in written):
        path = layout.partition_path(folder, partition)
        footer = pq.read_metadata(path)
        footer.set_file_path(path.relative_to(folder / "dataset").as_posix())
        footers.append(footer)
    pq.write_metadata(schema, folder / "dataset" / "_common_metadata")
    pq.write_metadata(schema, folder / "dataset" / "_metadata", metadata_collector=footers)


def _write_hats(folder: Path, written: Sequence[Written], map_order: int, properties: dict[str, Any]) -> None:
    from hats.catalog import PartitionInfo, TableProperties
    from hats.io.skymap import write_skymap
    from hats.pixel_math import HealpixPixel

    counts = np.zeros(12 << 2 * map_order, dtype=np.int64)
    for part in written:
        cells, rows = np.array(part.cells).T
        counts[cells] += rows
    write_skymap(counts, folder)
    info = PartitionInfo([HealpixPixel(*part.partition) for part in written])
    info.write_to_file(folder / "partition_info.csv")
    orders = [part.partition[0] for part in written]
    TableProperties(
        total_rows=sum(part.rows for part in written),
        healpix_column=HEALPIX_COLUMN,
        healpix_order=MAX_ORDER,
        hats_max_rows=max((part.rows for part in written), default=0),
        hats_order=max(orders, default=0),
        moc_sky_fraction=f"{sum(0.25**order for order in orders) / 12:0.5f}",
        skymap_order=map_order,
        npix_suffix=".parquet",
        **properties,
        **TableProperties.new_provenance_dict(folder, builder=f"xmatch-hats v{__version__}"),
    ).to_properties_file(folder)
