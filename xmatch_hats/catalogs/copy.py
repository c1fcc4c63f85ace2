"""A catalogue's copy on local disk, opened: where it lies, what it holds, what it knows of itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, ROW_COLUMN, Partition
from xmatch_hats.catalogs.manifest import Manifest
from xmatch_hats.display import as_html, counted, from_here
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, DefinitionError, UsageError
from xmatch_hats.tables.metadata import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import lsdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from xmatch_hats.catalogs.coverage import Coverage
    from xmatch_hats.catalogs.definition import Definition

__all__ = ["IMPORT_HINT", "LocalCopy", "guess_id", "near_names", "open_catalog", "open_copy"]

IMPORT_HINT = "make a copy with `xmatch-hats catalog import`"


@dataclass(frozen=True)
class LocalCopy:
    """A HATS collection (or bare catalogue) on local disk, ours or foreign; nothing of its rows is read yet."""

    path: Path
    """Folder of the collection, or of the bare catalogue."""
    name: str
    """Name of the definition, else of the catalogue as its properties say."""
    definition: Definition | None
    """What the columns mean; None for a foreign copy and for an import without a definition."""
    manifest: Manifest | None
    """None for a foreign copy."""
    ra_column: str
    dec_column: str
    id_column: str | None
    """Column that decides between rows at equal distance; None where a foreign copy has none that is known."""
    margin_arcsec: float
    """Largest radius that can be searched; 0 without a margin cache."""
    total_rows: int
    schema: pa.Schema
    """Columns of the rows with unit, UCD and description as field metadata, `_healpix_29` included."""
    partitions: tuple[Partition, ...]
    """HEALPix order and nested pixel of each partition, along the sphere."""
    main_path: Path
    """Folder of the main table."""
    margin_path: Path | None
    """Folder of the margin cache."""
    version: str
    """Identity of the content: changes when the copy is replaced."""
    suffix: str = ".parquet"
    """How partition files end; ``/`` where a partition is a folder."""

    @classmethod
    def open(cls, path: str | Path) -> LocalCopy:
        """Open the copy in a folder.

        Parameters
        ----------
        path : str or Path
            Folder of a HATS collection or of a bare HATS catalogue.

        Raises
        ------
        CatalogNotFoundError
            The folder does not exist or holds no HATS catalogue.
        CatalogError
            It does, but is damaged or of a kind that cannot be searched.
        """
        folder = Path(path).expanduser().absolute()
        main, margin = _find_tables(folder)
        manifest = Manifest.read(folder)
        properties = layout.read_catalog_properties(main)
        schema = layout.read_schema(main)
        _require_searchable(properties, schema, main)
        definition = _snapshot(manifest, folder)
        return cls(
            path=folder,
            name=manifest.name if manifest else properties.get("obs_collection", folder.name),
            definition=definition,
            manifest=manifest,
            ra_column=properties["hats_col_ra"],
            dec_column=properties["hats_col_dec"],
            id_column=manifest.id_column if manifest else guess_id(schema),
            margin_arcsec=_margin_arcsec(margin),
            total_rows=_whole_number(properties, "hats_nrows", main),
            schema=schema,
            partitions=tuple(layout.read_partitions(main)),
            main_path=main,
            margin_path=margin,
            version=manifest.uuid if manifest else _foreign_version(main),
            suffix=properties.get("hats_npix_suffix", ".parquet"),
        )

    def __repr__(self) -> str:
        held = f"{counted(self.total_rows, 'row')} in {counted(len(self.partitions), 'partition')}"
        return f"<LocalCopy {self.name}: {held}, margin {self.margin_arcsec:g} arcsec, {from_here(self.path)}>"

    def _repr_html_(self) -> str:
        columns = [self.schema.field(name) for name in self.column_names(None)]
        record = self.manifest.coverage if self.manifest else None
        facts = {
            "folder": self.path,
            "rows": self.total_rows,
            "partitions": len(self.partitions),
            "margin": f"{self.margin_arcsec:g} arcsec",
            "coverage": f"{record.kind}, {record.sky_fraction:.4%} of the sky" if record else "not recorded",
            "created": self.manifest.created if self.manifest else None,
        }
        return as_html(
            f"{self.name}: a local copy",
            facts,
            ("column", "type", "unit", "description"),
            [(field.name, field.type, text_of(field, "unit"), text_of(field, "description")) for field in columns],
        )

    @cached_property
    def coverage(self) -> Coverage:
        """Where on the sky this copy is complete; estimated from the rows where no map is recorded.

        Estimating reads the index column of every partition once.
        """
        from xmatch_hats.catalogs.coverage import Coverage

        if self.manifest is not None:
            return Coverage.load(self.path)
        return Coverage.from_rows(self.read_healpix())

    def partition_file(self, partition: Partition) -> Path:
        """Path of a partition's rows."""
        return layout.partition_path(self.main_path, partition, self.suffix)

    def margin_file(self, partition: Partition) -> Path | None:
        """Path of a pixel's margin rows, None where the pixel has none."""
        if self.margin_path is None:
            return None
        path = layout.partition_path(self.margin_path, partition, self.suffix)
        return path if path.exists() else None

    def read_healpix(self) -> Iterator[NDArray[np.int64]]:
        """Yield the `_healpix_29` of each partition's rows, along the sphere; ascending over all in a sorted copy.

        Raises
        ------
        PartitionReadError
            A partition cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from xmatch_hats.errors import PartitionReadError

        for partition in self.partitions:
            path = self.partition_file(partition)
            try:
                column = pq.read_table(path, columns=[HEALPIX_COLUMN], partitioning=None).column(0)
            except (pa.ArrowException, OSError) as error:
                raise PartitionReadError(f"cannot be read: {error}", place=path) from error
            if column.null_count:
                raise PartitionReadError(f"holds rows without a {HEALPIX_COLUMN}, by which rows are found", place=path)
            yield column.cast(pa.int64()).to_numpy()

    def column_names(self, names: Sequence[str] | None) -> list[str]:
        """Columns of this copy for names as people write them: the copy's own, or the definition's VizieR names.

        Parameters
        ----------
        names : sequence of str or None
            None means every column except `_healpix_29`.

        Raises
        ------
        CatalogError
            The copy has no such column; near names are listed.
        UsageError
            One text instead of a sequence of names.
        """
        own = [name for name in self.schema.names if name != HEALPIX_COLUMN]
        if names is None:
            return own
        if isinstance(names, str):
            raise UsageError(
                f"columns are a sequence of names, not the text {names!r}", hint=f"write [{names!r}]", value=names
            )
        return list(dict.fromkeys(self._own_name(str(name), own) for name in names))

    def _own_name(self, name: str, own: list[str]) -> str:
        if name in own:
            return name
        canonical = self.definition.canonical_name(name) if self.definition else None
        if canonical in own:
            return canonical
        known = canonical is not None
        raise CatalogError(
            f"has no column {name}" + (" (its definition knows it, but it was not imported)" if known else ""),
            place=self.path,
            hint=near_names(name, own),
            value=name,
        )

    def open_lsdb(self, columns: Sequence[str] | None = None) -> lsdb.Catalog:
        """Open as an LSDB catalogue with its margin.

        Parameters
        ----------
        columns : sequence of str, optional
            Default all. The coordinates are always among them, since nothing can be matched without.
        """
        import lsdb

        if columns is None:
            chosen: Any = "all"
        else:
            chosen = list(dict.fromkeys([self.ra_column, self.dec_column, *self.column_names(columns)]))
        from xmatch_hats.catalogs.partition_reads import name_reads

        try:
            return name_reads(lsdb.open_catalog(self.path, columns=chosen))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CatalogError(f"LSDB cannot open the copy: {error}", place=self.path) from error


def open_copy(name_or_path: str | Path) -> LocalCopy:
    """Open a copy by its registered name (``NAME`` or ``NAME@VERSION``) or its folder.

    Raises
    ------
    CatalogNotFoundError
        There is none.
    CatalogError
        It is damaged.
    """
    from xmatch_hats.catalogs.registry import resolve

    return LocalCopy.open(resolve(name_or_path))


def open_catalog(name_or_path: str | Path, columns: Sequence[str] | None = None) -> lsdb.Catalog:
    """Open a copy as an LSDB catalogue with its margin.

    Parameters
    ----------
    name_or_path : str or Path
        Registered name (``NAME`` or ``NAME@VERSION``) or folder.
    columns : sequence of str, optional
        Names of the copy or of VizieR; default all.

    Raises
    ------
    CatalogNotFoundError, CatalogError
        There is no such copy, it is damaged, or it has no such column.

    Examples
    --------
    >>> open_catalog("allwise", ["AllWISE", "W1mag"]).columns.tolist()
    ['ra', 'dec', 'designation', 'w1mpro']
    """
    return open_copy(name_or_path).open_lsdb(columns)


def near_names(name: str, names: Sequence[str]) -> str:
    """Tell which of some names somebody who wrote another may have meant: the nearest in any case, else the first."""
    by_case = {known.lower(): known for known in names}
    near = [by_case[key] for key in get_close_matches(name.lower(), by_case, n=3, cutoff=0.5)]
    if near:
        return f"near names: {', '.join(near)}"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"it has {', '.join(names[:20])}{more}"


def guess_id(schema: pa.Schema) -> str | None:
    """Column that decides ties in a catalogue nobody recorded it of: its shipped definition's id, else `_row`."""
    from xmatch_hats.catalogs.definition import definition_for

    definition = definition_for(schema)
    ids = (definition.id_column if definition else None, ROW_COLUMN)
    return next((column for column in ids if column in schema.names), None)


def _find_tables(folder: Path) -> tuple[Path, Path | None]:
    """Folders of the main table and of the margin with the largest radius."""
    if folder.is_file():
        raise CatalogNotFoundError("is a file, not the folder of a copy", place=folder, hint=IMPORT_HINT)
    if not folder.is_dir():
        raise CatalogNotFoundError("there is no such folder", place=folder, hint="see `xmatch-hats catalog list`")
    if not layout.is_collection(folder):
        if layout.is_catalog(folder):
            return folder, None
        raise CatalogNotFoundError(
            "is not a HATS catalogue: no collection.properties or hats.properties in it",
            place=folder,
            hint=IMPORT_HINT,
        )
    properties = layout.read_collection_properties(folder)
    main = folder / properties["hats_primary_table_url"]
    # LSDB opens the default margin, so the radius that can be searched is the default margin's too.
    margin = folder / properties["default_margin"] if properties.get("default_margin") else None
    for table in (main, margin):
        if table is not None and not table.is_dir():
            raise CatalogError(f"a part of the copy is missing: {table.name}", place=folder)
    return main, margin


def _require_searchable(properties: dict[str, str], schema: pa.Schema, main: Path) -> None:
    kind = properties.get("dataproduct_type")
    if kind not in ("object", "source"):
        raise CatalogError(f"is a HATS {kind} table, not a catalogue of objects or sources", place=main)
    for key in ("hats_col_ra", "hats_col_dec"):
        column = properties.get(key)
        if not column or column not in schema.names:
            raise CatalogError(f"its {key} names no column of it", place=main, value=column)
    if HEALPIX_COLUMN not in schema.names:
        raise CatalogError(
            f"has no column {HEALPIX_COLUMN}, by which rows are found", place=main, hint="re-import it with hats-import"
        )


def _snapshot(manifest: Manifest | None, folder: Path) -> Definition | None:
    if manifest is None or manifest.definition is None:
        return None
    from xmatch_hats.catalogs.definition import Definition

    try:
        return Definition.from_json(json.dumps(manifest.definition))
    except DefinitionError as error:
        raise CatalogError(f"the definition in its manifest is malformed: {error}", place=folder) from error


def _margin_arcsec(margin: Path | None) -> float:
    if margin is None:
        return 0.0
    value = layout.read_catalog_properties(margin).get("hats_margin_threshold", "")
    try:
        return float(value)
    except ValueError:
        raise CatalogError("hats_margin_threshold is not a number", place=margin, value=value) from None


def _whole_number(properties: dict[str, str], key: str, place: Path) -> int:
    value = properties.get(key, "")
    try:
        return int(value)
    except ValueError:
        raise CatalogError(f"{key} is not a whole number", place=place, value=value) from None


def _foreign_version(main: Path) -> str:
    """Identity of a copy without manifest: the state of the two files that every rewriting touches."""
    digest = hashlib.sha256()
    for name in (*layout.CATALOG_FILES, "partition_info.csv"):
        path = main / name
        if path.is_file():
            state = path.stat()
            digest.update(f"{name} {state.st_ino} {state.st_mtime_ns} {state.st_size}\n".encode())
    return digest.hexdigest()[:32]


def __dir__() -> list[str]:
    return sorted(__all__)
