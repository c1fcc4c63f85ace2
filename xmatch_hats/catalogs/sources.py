"""What an import reads: which files, which of their columns, and what these become in a copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import near_names
from xmatch_hats.catalogs.layout import RESERVED, ROW_COLUMN
from xmatch_hats.errors import DefinitionError, TableError, UsageError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.definition import Definition
    from xmatch_hats.tables.read import TableSource

Columns = Sequence[str] | Literal["all"] | None
"""Names in either name set; every column; or the definition's default ones."""
Asked = tuple[str, ...] | Literal["all"] | None
"""The same, of a plan."""


@dataclass(frozen=True)
class ImportPlan:
    """How every source of one import is read; it is pickled to the workers."""

    definition: Definition | None
    columns: Asked
    ra_column: str
    """Name in the copy."""
    dec_column: str
    id_column: str
    """Column of the copy that orders rows at equal distance: the definition's, else the source row number."""
    schema: pa.Schema
    """Columns of the copy, without the HEALPix index."""
    share: float
    """Share of the first source's columns that the copy keeps, by number."""
    hdu: int | None = None
    """Which table of a FITS file."""
    keeps_rejects: bool = False
    """Whether rows without a position are kept beside the copy, however many they are."""

    @property
    def keeps_rows(self) -> bool:
        """Whether the copy keeps source row numbers."""
        return self.id_column == ROW_COLUMN

    def source_columns(self, source: TableSource) -> list[str]:
        """Columns to read of one source: those of the copy and those that the self-checks look at.

        Raises
        ------
        TableError
            The source lacks one that the copy has, or has one that cannot be read and that nobody left out.
        """
        _require(source, self.columns)
        known = self._canonical_names(source)
        source_of = {canonical: name for name, canonical in known.items()}
        wanted = [name for name in self.schema.names if not (name == ROW_COLUMN and self.keeps_rows)]
        if missing := [name for name in wanted if name not in source_of]:
            raise TableError(
                f"lacks the columns {', '.join(missing)} that the first source has",
                place=source.path,
                hint="import it apart, or choose with --columns what all sources have",
            )
        used = {name for check in self.definition.self_checks for name in check.used} if self.definition else set()
        checked = [name for name, canonical in known.items() if canonical in used and canonical not in wanted]
        return [source_of[name] for name in wanted] + checked

    def columns_left_out(self, source: TableSource) -> list[str]:
        """Columns of a source that the copy would have, had the first source had them."""
        if self.columns is not None and self.columns != "all":
            return []
        default = None
        if self.definition is not None and self.columns is None:
            default = {*self.definition.default_columns, self.definition.id_column, self.definition.label_column}
        known = self._canonical_names(source)
        taken = RESERVED.union(self.schema.names)
        return [name for name, own in known.items() if own not in taken and (default is None or own in default)]

    def _canonical_names(self, source: TableSource) -> dict[str, str]:
        """Name in the copy of each column of a source."""
        known = self.definition.canonical_names(source.schema) if self.definition else {}
        taken = set(known.values())
        return known | {name: name for name in source.schema.names if name not in known and name not in taken}

    def open(self, path: Path) -> TableSource:
        """Open one source."""
        return open_source(path, self.definition, self.hdu)


def expand_sources(sources: Iterable[str | Path]) -> list[Path]:
    """Files that sources mean: files themselves, and of folders every file below, sorted, hidden ones skipped.

    Raises
    ------
    UsageError
        There are none, or one is given twice.
    TableError
        One does not exist, a folder is empty, or is a HATS catalogue.
    """
    files: list[Path] = []
    for source in sources:
        path = Path(source).expanduser().absolute()
        if path.is_dir():
            files += _folder_files(path)
        elif path.exists():
            files.append(path)
        else:
            raise TableError("there is no such file or folder", place=path)
    if not files:
        raise UsageError("nothing to import: no source is given")
    if len(set(files)) != len(files):
        twice = next(path for path in files if files.count(path) > 1)
        raise UsageError("is given twice, its rows would be in the copy twice", place=twice)
    return files


def open_source(path: Path, definition: Definition | None, hdu: int | None) -> TableSource:
    """Open a table as a source of an import, with what its definition knows of its columns.

    Raises
    ------
    TableError
        As `xmatch_hats.tables.read.open_table`.
    """
    from xmatch_hats.tables.formats import format_of
    from xmatch_hats.tables.read import open_table

    kind = format_of(path)
    if kind == "bulk" and definition is not None and definition.bulk is not None:
        columns = definition.bulk_columns
        types = {column.name: column.arrow_type for column in columns}
        return open_table(path, format=kind, names=[column.name for column in columns], column_types=types)
    if kind == "csv" and definition is not None:
        return open_table(path, hdu=hdu, column_types=_text_columns(path, definition))
    return open_table(path, hdu=hdu)


def find_definition(path: Path, hdu: int | None) -> Definition | None:
    """The shipped definition that fits a source: by its column names, or a bulk file's own name; None if none does."""
    from xmatch_hats.catalogs.definition import definition_for, list_definitions, load_definition
    from xmatch_hats.tables.formats import format_of

    kind = format_of(path)
    if kind == "bulk":
        shipped = [load_definition(name) for name in list_definitions()]
        return next((d for d in shipped if d.bulk and d.bulk.pattern and fnmatch(path.name, d.bulk.pattern)), None)
    if kind == "csv":
        return definition_for(_csv_header(path))
    source = open_source(path, None, hdu)
    found = definition_for(source.schema)
    return found if found is not None and _agrees(found, source) else None


def _agrees(definition: Definition, source: TableSource) -> bool:
    """Whether a definition places rows where the source itself does: one of matches has columns of two catalogues."""
    if source.positions is None:
        return True
    known = definition.canonical_names(source.schema)
    return [known.get(name) for name in source.positions] == [definition.ra_column, definition.dec_column]


def _csv_header(path: Path) -> pa.Schema:
    """Column names of a CSV file; learning the types would read all of it."""
    from xmatch_hats.tables.delimited import csv_layout

    return pa.schema([pa.field(name, pa.null()) for name in csv_layout(path).names])


def _text_columns(path: Path, definition: Definition) -> dict[str, pa.DataType]:
    """Source columns that the definition calls strings: read as numbers, flags such as 0211 would lose their zeros."""
    known = definition.canonical_names(_csv_header(path))
    types = {name: definition.by_name[canonical].arrow_type for name, canonical in known.items()}
    return {name: type_ for name, type_ in types.items() if pa.types.is_string(type_)}


def plan_import(
    files: Sequence[Path],
    definition: Definition | None,
    columns: Columns,
    *,
    hdu: int | None = None,
    plain: bool = False,
    keeps_rejects: bool = False,
) -> ImportPlan:
    """Decide from the first source which definition fits and what the copy's columns are.

    With `plain` none is looked for.

    Raises
    ------
    DefinitionError, TableError
        A source cannot be read, or lacks a column of the copy.
    """
    path = files[0]
    definition = definition or (None if plain else find_definition(path, hdu))
    asked: Asked = columns if columns is None or columns == "all" else tuple(columns)
    if definition is None:
        plan = _plan_without(files, open_source(path, None, hdu), asked, hdu)
    else:
        plan = _plan_with(definition, _source_schema(path, definition, asked, hdu), path, asked, hdu)
    return replace(plan, keeps_rejects=keeps_rejects)


def _source_schema(path: Path, definition: Definition, columns: Asked, hdu: int | None) -> pa.Schema:
    """Columns of a source; of a CSV file whose columns the definition all knows, without types."""
    from xmatch_hats.tables.formats import format_of

    if format_of(path) == "csv":
        header = _csv_header(path)
        if len(definition.canonical_names(header)) == len(header):
            return header
    source = open_source(path, definition, hdu)
    _require(source, columns)
    return source.schema


def _require(source: TableSource, columns: Asked) -> None:
    """Refuse columns that cannot be read: a copy leaves out none but by the names of others."""
    try:
        source.require(None if columns is None or columns == "all" else columns)
    except TableError as error:
        hint = f"{error.hint}; or import others alone, by `catalog import --columns`"
        raise TableError(error.message, place=error.place, hint=hint, value=error.value) from error


def _plan_with(
    definition: Definition,
    schema: pa.Schema,
    path: Path,
    columns: Asked,
    hdu: int | None,
) -> ImportPlan:
    if columns is not None and columns != "all":
        _refuse_unknown(definition, schema, path, tuple(columns))
    chosen = _definition_columns(definition, schema, path, columns)
    empty = pa.RecordBatch.from_pylist([], schema=pa.schema([schema.field(name) for name in chosen]))
    fields = list(definition.canonicalise(empty, path).schema)
    has_id = definition.id_column is not None and definition.id_column in {f.name for f in fields}
    return ImportPlan(
        definition=definition,
        columns=columns,
        ra_column=definition.ra_column,
        dec_column=definition.dec_column,
        id_column=str(definition.id_column) if has_id else ROW_COLUMN,
        schema=_copy_schema(fields, keep_rows=not has_id),
        share=len(chosen) / len(schema),
        hdu=hdu,
    )


def _plan_without(files: Sequence[Path], first: TableSource, columns: Asked, hdu: int | None) -> ImportPlan:
    from xmatch_hats.tables.coordinates import find_coordinates

    _require(first, columns)
    try:
        ra, dec = find_coordinates(first.schema, told=first.positions)
    except TableError as error:
        # Of a text file without rows nobody can tell the types.
        if not any(batch.num_rows for batch in first.batches()):
            raise TableError("has no rows", place=first.path) from error
        hint = "rename them in the source, or give a --definition that knows their names"
        raise TableError(error.message, place=first.path, hint=hint, value=error.value) from error
    # A column may be whole numbers in one text file and fractions in the next: the copy takes what holds both.
    schemas = [first.schema, *(open_source(path, None, hdu).schema for path in files[1:])]
    try:
        merged = pa.unify_schemas([_without_metadata(schema) for schema in schemas], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
        raise TableError(f"the sources do not agree in their columns: {error}", place=files[0].parent) from error
    names = [name for name in first.schema.names if name not in RESERVED]
    if columns is not None and columns != "all":
        for name in columns:
            if name not in names:
                raise TableError(f"has no column {name}", place=first.path, hint=near_names(name, names), value=name)
        names = list(dict.fromkeys([*columns, ra, dec]))
    fields = [first.schema.field(name).with_type(_stored_type(merged.field(name).type)) for name in names]
    fields = [f.with_type(pa.float64()) if f.name in (ra, dec) else f for f in fields]
    return ImportPlan(
        definition=None,
        columns=columns,
        ra_column=ra,
        dec_column=dec,
        id_column=ROW_COLUMN,
        schema=_copy_schema(fields, keep_rows=True),
        share=len(names) / len(first.schema),
        hdu=hdu,
    )


def _definition_columns(definition: Definition, schema: pa.Schema, path: Path, columns: Asked) -> list[str]:
    """Source names of the copy's columns: those asked for, the coordinates, the id and the label."""
    try:
        chosen = definition.source_columns(schema, columns)
    except DefinitionError as error:
        raise DefinitionError(error.message, place=path, hint=error.hint, value=error.value) from error
    known = definition.canonical_names(schema)
    label = [name for name, canonical in known.items() if canonical == definition.label_column and name not in chosen]
    return [name for name in [*chosen, *label] if name not in RESERVED]


def _refuse_unknown(definition: Definition, schema: pa.Schema, path: Path, columns: tuple[str, ...]) -> None:
    has = list(definition.canonical_names(schema).values())
    for name in columns:
        canonical = definition.canonical_name(name)
        if canonical is None:
            near = near_names(name, [*has, *schema.names])
            raise DefinitionError(f"the definition {definition.name} has no column {name}", hint=near, value=name)
        if canonical not in has:
            raise DefinitionError(f"the source has no column {name}", place=path, value=name)


def _copy_schema(fields: list[pa.Field], *, keep_rows: bool) -> pa.Schema:
    if keep_rows:
        described = {b"description": b"Row number in the sources, from 0, in their order"}
        fields = [*fields, pa.field(ROW_COLUMN, pa.int64(), metadata=described)]
    return pa.schema(fields)


def _stored_type(type_: pa.DataType) -> pa.DataType:
    """Types that a copy stores: an all-empty text column is a string, and the plain string type is the common one."""
    if pa.types.is_null(type_) or pa.types.is_large_string(type_) or pa.types.is_dictionary(type_):
        return pa.string()
    return type_


def _without_metadata(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.remove_metadata() for f in schema])


def _folder_files(folder: Path) -> list[Path]:
    # A leading underscore hides files too, by the convention of parquet data sets (_metadata, _SUCCESS).
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part[0] in "._" for part in path.relative_to(folder).parts)
    ]
    for inner in dict.fromkeys([folder, *(path.parent for path in files)]):
        if layout.is_collection(inner) or layout.is_catalog(inner):
            raise TableError(
                "is a HATS catalogue, not a folder of tables",
                place=inner,
                hint="copy it with `xmatch-hats catalog pull`, or name the tables beside it one by one",
            )
    if not files:
        raise TableError("there are no files in this folder", place=folder)
    return files
