"""What makes a HATS collection of partitions that were written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats import __version__
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.errors import AccountError, PartitionReadError
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.whole import unwritable

Written = Mapping[str, Any]
"""Record of a partition file: ``partition``, ``rows``, ``bytes``, ``sha256``."""


@dataclass(frozen=True)
class Collection:
    """What a collection is, and where."""

    folder: Path
    name: str
    """Of its main table."""
    schema: pa.Schema
    map_order: int
    """HEALPix order in which rows are counted."""
    margin_arcsec: float

    @property
    def main(self) -> Path:
        """Folder of the main table."""
        return self.folder / self.name

    @property
    def margin(self) -> Path:
        """Folder of the margin cache."""
        return self.folder / f"{self.name}_margin"


def write_collection(
    made: Collection,
    main: Sequence[Written],
    margin: Sequence[Written],
    sky: NDArray[np.int64],
    properties: Mapping[str, Any],
) -> None:
    """Write all metadata of the collection, its main table and its margin.

    Parameters
    ----------
    made : Collection
    main, margin : sequence of records
        The partition files that were written.
    sky : ndarray of int64, shape (12 * 4**map_order,)
        Rows of the main table by cell.
    properties : mapping
        Type and coordinate columns, as `hats` calls them.

    Raises
    ------
    OutputError
        A file cannot be written.
    PartitionReadError, AccountError
        A partition is not what its record says.
    """
    from hats.catalog import TableProperties
    from hats.catalog.dataset.collection_properties import CollectionProperties
    from hats.io.skymap import write_skymap

    for folder in (made.main, made.margin):
        folder.mkdir(parents=True, exist_ok=True)
    about = TableProperties.new_provenance_dict(made.main, builder=f"xmatch-hats v{__version__}")
    try:
        write_table(
            made.main,
            main,
            made.schema,
            dict(
                properties,
                catalog_name=made.name,
                hats_max_rows=max((part["rows"] for part in main), default=0),
                skymap_order=made.map_order,
                **about,
            ),
        )
        write_skymap(sky, made.main)
        kept = {name: properties[name] for name in ("ra_column", "dec_column")}
        write_table(
            made.margin,
            margin,
            made.schema,
            dict(
                kept,
                catalog_name=made.margin.name,
                catalog_type="margin",
                # Relative, so that a copy may be moved.
                primary_catalog=made.main.name,
                margin_threshold=made.margin_arcsec,
                **about,
            ),
        )
        CollectionProperties(
            name=made.name,
            hats_primary_table_url=made.main.name,
            all_margins=[made.margin.name],
            default_margin=made.margin.name,
            **about,
        ).to_properties_file(made.folder)
    except OSError as error:
        raise unwritable(made.folder, error) from error


def write_table(folder: Path, written: Sequence[Written], schema: pa.Schema, properties: dict[str, Any]) -> None:
    """Write the metadata of one table: footers, list of partitions, properties.

    Parameters
    ----------
    folder : Path
        With the partitions in it.
    written : sequence of records
    schema : pyarrow.Schema
    properties : dict
        Those that the partitions do not tell, as `hats` calls them.
    """
    from hats.catalog import PartitionInfo, TableProperties
    from hats.pixel_math import HealpixPixel

    (folder / "dataset").mkdir(parents=True, exist_ok=True)
    rows = {_partition(part): part["rows"] for part in written}
    _write_footers(folder, rows, schema)
    info = PartitionInfo([HealpixPixel(*partition) for partition in sorted(rows, key=layout.sky_order)])
    info.write_to_file(folder / "partition_info.csv")
    orders = [order for order, _ in rows]
    TableProperties(
        total_rows=sum(rows.values()),
        healpix_column=HEALPIX_COLUMN,
        healpix_order=MAX_ORDER,
        hats_order=max(orders, default=0),
        moc_sky_fraction=f"{sum(0.25**order for order in orders) / 12:0.5f}",
        npix_suffix=".parquet",
        **properties,
    ).to_properties_file(folder)


def _write_footers(folder: Path, rows: Mapping[Partition, int], schema: pa.Schema) -> None:
    """Collect the footers, in the order that HATS lists partitions in, and check that files are what was written."""
    footers = []
    for partition in sorted(rows):
        path = layout.partition_path(folder, partition)
        try:
            footer = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise PartitionReadError(f"cannot be read: {error}", place=path) from error
        if footer.num_rows != rows[partition]:
            raise AccountError(f"has {footer.num_rows} rows, {rows[partition]} were written", place=path)
        footer.set_file_path(path.relative_to(folder / "dataset").as_posix())
        footers.append(footer)
    pq.write_metadata(schema, folder / "dataset" / "_common_metadata")
    pq.write_metadata(schema, folder / "dataset" / "_metadata", metadata_collector=footers)


def _partition(part: Written) -> Partition:
    order, pixel = part["partition"]
    return order, pixel
