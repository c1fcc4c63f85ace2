"""What is to be verified: the tables of a copy as their metadata describe them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hats.catalog import TableProperties
from jproperties import PropertyError  # type: ignore[import-untyped]
from upath import UPath

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.layout import HIVE_COLUMNS, Partition
from xmatch_hats.catalogs.manifest import MANIFEST_NAME, Manifest
from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.report import Place
from xmatch_hats.catalogs.verify.tiling import MAX_RADIUS_ARCSEC
from xmatch_hats.errors import CatalogError, CatalogNotFoundError
from xmatch_hats.healpix import MAX_ORDER

PARQUET_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, pa.ArrowKeyError, OSError)
"""What Arrow raises on bytes that are not the parquet they should be."""


@dataclass(frozen=True)
class Table:
    """The main table or one margin cache."""

    root: Path
    """Folder of the copy."""
    path: Path
    """Folder of this table."""
    properties: dict[str, str]
    partitions: tuple[Partition, ...]
    schema: pa.Schema
    """The common schema, without the columns that folder names stand for."""

    @property
    def is_margin(self) -> bool:
        """Whether this is a margin cache."""
        return self.properties.get("dataproduct_type") == "margin"

    @property
    def ra_column(self) -> str:
        """Name of the right ascension column."""
        return self.properties.get("hats_col_ra", "ra")

    @property
    def dec_column(self) -> str:
        """Name of the declination column."""
        return self.properties.get("hats_col_dec", "dec")

    @property
    def healpix_column(self) -> str | None:
        """Name of the HEALPix index column, None where the rows have none."""
        name = self.properties.get("hats_col_healpix", layout.HEALPIX_COLUMN)
        return name if name in self.schema.names else None

    @property
    def healpix_order(self) -> int:
        """Order of the HEALPix index."""
        return int(self.properties.get("hats_col_healpix_order", MAX_ORDER))

    @property
    def threshold_arcsec(self) -> float:
        """Margin threshold, in arcseconds."""
        return float(self.properties["hats_margin_threshold"])

    @property
    def can_be_checked(self) -> bool:
        """Whether the threshold of this margin cache is one that rows can be checked against."""
        return 0 < self.threshold_arcsec <= MAX_RADIUS_ARCSEC

    def files(self, partition: Partition) -> list[Path]:
        """Parquet files of a partition that exist, in a fixed order."""
        path = layout.partition_path(self.path, partition, self.properties.get("hats_npix_suffix", ".parquet"))
        if path.is_dir():
            return sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] not in "._")
        return [path] if path.is_file() else []

    def place(self, path: Path, detail: str, partition: Partition | None = None, row: int | None = None) -> Place:
        """Place of a fault in a file of this table."""
        return Place(self.relative(path), detail, label(partition) if partition else "", row)

    def relative(self, path: Path) -> str:
        """Path relative to the copy's folder, for people."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


@dataclass(frozen=True)
class Subject:
    """A copy, as far as its metadata can be read."""

    root: Path
    main: Table | None = None
    margins: tuple[Table, ...] = ()
    manifest: Manifest | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        """The main table, then its margins."""
        return (self.main, *self.margins) if self.main else self.margins


def label(partition: Partition) -> str:
    """A partition's name, as its folders spell it."""
    return f"Norder={partition[0]},Npix={partition[1]}"


def read_subject(root: Path, findings: Findings) -> Subject:
    """Read all metadata of a copy, recording in the check ``metadata`` what cannot be read or disagrees.

    Raises
    ------
    CatalogNotFoundError
        The folder does not exist.
    CatalogError
        It is neither a HATS collection nor a HATS catalogue.
    """
    if not root.is_dir():
        raise CatalogNotFoundError("no such folder", place=root)
    if not layout.is_collection(root) and not layout.is_catalog(root):
        raise CatalogError(
            "is not a HATS catalogue: it has neither collection.properties nor hats.properties", place=root
        )
    tally = findings["metadata"]
    subject = Subject(root)
    try:
        tally.looked_at += (root / MANIFEST_NAME).is_file()
        subject = replace(subject, manifest=Manifest.read(root))
    except CatalogError as error:
        tally.fault(Place(MANIFEST_NAME, error.message))
    main, margins = _table_folders(root, findings)
    if main is not None:
        tables = [table for folder in margins if (table := _read_table(root, folder, findings))]
        subject = replace(subject, main=_read_table(root, main, findings), margins=tuple(tables))
    subject = _check_kinds(subject, findings)
    _check_thresholds(subject, findings)
    return subject


def _check_kinds(subject: Subject, findings: Findings) -> Subject:
    """Leave out tables that are not what they are listed as."""
    tally = findings["metadata"]
    main = subject.main
    if main is not None and main.is_margin:
        tally.fault(main.place(main.path, "is a margin cache without its main table; verify the collection"))
        return replace(subject, main=None, margins=(main,))
    for table in subject.margins:
        if not table.is_margin:
            kind = table.properties.get("dataproduct_type", "table of unknown type")
            tally.fault(table.place(table.path, f"is listed as a margin and is a {kind}"))
    return replace(subject, margins=tuple(table for table in subject.margins if table.is_margin))


def _table_folders(root: Path, findings: Findings) -> tuple[Path | None, list[Path]]:
    if not layout.is_collection(root):
        return root, []
    tally = findings["metadata"]
    tally.looked_at += 1
    try:
        properties = layout.read_collection_properties(root)
    except CatalogError as error:
        tally.fault(Place(layout.COLLECTION_FILE, error.message))
        return None, []
    names = properties.get("all_margins", "").replace(",", " ").replace(";", " ").split()
    default = properties.get("default_margin")
    if default and default not in names:
        tally.fault(Place(layout.COLLECTION_FILE, f"the default margin {default} is not among all_margins"))
    if properties.get("all_indexes"):
        tally.note("index tables are not verified")
    return root / properties["hats_primary_table_url"], [root / name for name in names]


def _read_table(root: Path, folder: Path, findings: Findings) -> Table | None:
    """Read one table's metadata; None where too much of it is missing to go on."""
    tally = findings["metadata"]
    place = folder.relative_to(root).as_posix() if folder.is_relative_to(root) else str(folder)
    try:
        properties = layout.read_catalog_properties(folder)
        partitions = layout.read_partitions(folder)
        schema = layout.read_schema(folder)
        _require_numbers(properties)
    except CatalogError as error:
        tally.fault(Place(error.place or place, error.message))
        return None
    for name in ("_common_metadata", "_metadata"):
        tally.looked_at += _is_readable(folder / "dataset" / name, place, findings)
    tally.looked_at += 1 + len(_properties_files(folder))
    table = Table(root, folder, properties, tuple(partitions), schema)
    _check_properties(table, findings)
    bad = [f"Norder={order}, Npix={pixel}" for order, pixel in partitions if not _is_pixel(order, pixel)]
    if bad:
        tally.fault(Place(f"{place}/partition_info.csv", f"{bad[0]} is not a HEALPix pixel"), len(bad))
        return None
    return table


def _require_numbers(properties: dict[str, str]) -> None:
    """Refuse properties whose numbers are none, so that nothing after this has to."""
    for key, kind in (("hats_col_healpix_order", int), ("hats_margin_threshold", float), ("hats_nrows", int)):
        try:
            kind(properties.get(key, "0"))
        except ValueError:
            raise CatalogError(f"{key} is not a number: {properties[key]}", value=properties[key]) from None
    if properties.get("dataproduct_type") == "margin" and "hats_margin_threshold" not in properties:
        raise CatalogError("a margin cache without hats_margin_threshold")
    if not 0 <= int(properties.get("hats_col_healpix_order", MAX_ORDER)) <= MAX_ORDER:
        raise CatalogError("hats_col_healpix_order is not an order from 0 to 29")


def _is_pixel(order: int, pixel: int) -> bool:
    return 0 <= order <= MAX_ORDER and 0 <= pixel < 12 << 2 * order


def _is_readable(path: Path, place: str, findings: Findings) -> bool:
    """Whether a parquet metadata file is there; a fault where it is there and cannot be read."""
    if not path.is_file():
        return False
    try:
        pq.read_metadata(path)
    except PARQUET_ERRORS as error:
        findings["metadata"].fault(Place(f"{place}/dataset/{path.name}", f"cannot be read: {error}"))
    return True


def _properties_files(folder: Path) -> list[Path]:
    return [folder / name for name in layout.CATALOG_FILES if (folder / name).is_file()]


def _check_properties(table: Table, findings: Findings) -> None:
    """The library must accept the properties, both spellings of the file must say the same, columns must exist."""
    tally = findings["metadata"]
    first: dict[str, object] | None = None
    for path in _properties_files(table.path):
        try:
            values = TableProperties.read_from_file(UPath(path)).model_dump()
        except (ValueError, NotImplementedError, PropertyError) as error:
            tally.fault(table.place(path, f"is not accepted by hats: {str(error).splitlines()[0]}"))
            continue
        first = first or values
        differing = sorted(key for key in values.keys() | first.keys() if values.get(key) != first.get(key))
        if differing:
            tally.fault(table.place(path, f"differs from {layout.CATALOG_FILES[0]} in {', '.join(differing)}"))
    for column in (table.ra_column, table.dec_column):
        if column not in table.schema.names:
            tally.fault(table.place(table.path, f"its position column {column} is not in the common schema"))
    named = table.properties.get("hats_col_healpix")
    if named and named not in table.schema.names:
        tally.fault(table.place(table.path, f"its HEALPix column {named} is not in the common schema"))


def _check_thresholds(subject: Subject, findings: Findings) -> None:
    tally = findings["metadata"]
    for margin in subject.margins:
        if not margin.can_be_checked:
            tally.fault(margin.place(margin.path, f"its margin threshold is {margin.threshold_arcsec:g} arcsec"))
    if subject.manifest is None or not subject.manifest.margin_arcsec:
        return
    widest = max((margin.threshold_arcsec for margin in subject.margins), default=0.0)
    if subject.manifest.margin_arcsec > widest:
        tally.fault(
            Place(
                MANIFEST_NAME,
                f"promises a margin of {subject.manifest.margin_arcsec:g} arcsec, the caches have {widest:g}",
            )
        )


def without_hive(schema: pa.Schema) -> pa.Schema:
    """A schema without the columns that folder names stand for, and without file-level metadata."""
    return pa.schema([field for field in schema if field.name not in HIVE_COLUMNS])
