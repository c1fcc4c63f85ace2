"""Definitions of catalogues: what their columns are, under which names, and what must hold of their values.

A definition is a TOML file. Those that come with the package live in ``catalogs/`` at the top of the repository and in
``xmatch_hats/catalogs/definitions`` of an installed package; users write their own and give its path.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from xmatch_hats.catalogs import _canonical, _definition_file
from xmatch_hats.catalogs._definition_parts import STRICT, Bulk, Place, StarPreset
from xmatch_hats.catalogs.checks import SelfCheck
from xmatch_hats.catalogs.layout import RESERVED
from xmatch_hats.display import as_html
from xmatch_hats.errors import DefinitionError
from xmatch_hats.tables.metadata import make_field

__all__ = [
    "Bulk",
    "Column",
    "Definition",
    "Place",
    "StarPreset",
    "TypeName",
    "definition_for",
    "list_definitions",
    "load_definition",
]

logger = logging.getLogger(__name__)

TypeName = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "string"
]
_ColumnName = Annotated[str, Field(min_length=1)]


class Column(BaseModel):
    """One column of a catalogue."""

    model_config = STRICT

    name: _ColumnName
    """Canonical name: the one that a local copy uses."""
    type: TypeName
    """Arrow type of the values in a copy."""
    unit: str = ""
    ucd: str = ""
    description: str = ""
    vizier: str | None = None
    """Name in VizieR, where quantity and unit are the same there."""
    aliases: tuple[str, ...] = ()
    """Other names that sources use for the same quantity in the same unit."""
    bulk: bool = True
    """Whether the bulk files have it; they are read by position."""
    missing: tuple[str | float, ...] = ()
    """Values that mean "missing" besides an empty cell, null and NaN."""
    zero_pad: int = 0
    """Width to which a string of digits is filled with zeros: some sources lose those in front."""
    error: str | None = None
    """Column with the error of this one."""
    upper_limit: Literal["error-missing"] | None = None
    """Rule by which a value is an upper limit and no detection: its error is missing."""

    @property
    def arrow_type(self) -> pa.DataType:
        """Arrow type of the column in a copy."""
        return pa.type_for_alias(self.type)

    @property
    def field(self) -> pa.Field:
        """Arrow field with unit, UCD and description as metadata."""
        return make_field(self.name, self.arrow_type, unit=self.unit, ucd=self.ucd, description=self.description)


class Definition(BaseModel):
    """A catalogue: its names, columns, defaults, rules and self-checks."""

    model_config = STRICT

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    title: str = ""
    description: str = ""
    citation: str = ""
    vizier_table: str | None = None
    irsa_table: str | None = None
    frame: Literal["ICRS", "FK5"] = "ICRS"
    epoch: float | None = None
    """Mean epoch of the positions, in Julian years."""
    rows: int | None = None
    """Rows of the whole catalogue."""
    ra_column: str
    dec_column: str
    id_column: str | None = None
    """Unique integer of a row; it decides ties. Without it a copy keeps the source row number as ``_row``."""
    label_column: str | None = None
    """What people call a row by; with the coordinates it tells which definition fits a source."""
    excludes: tuple[str, ...] = ()
    """Columns that tell of another catalogue, though coordinates and label would fit."""
    default_columns: tuple[str, ...]
    xmatch_columns: tuple[str, ...] = ()
    """Columns that a stream's ``xmatches`` has unless asked otherwise; the default columns if empty."""
    margin_arcsec: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    radius_arcsec: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    places: tuple[Place, ...] = ()
    bulk: Bulk | None = None
    star_catalog: StarPreset | None = None
    self_checks: tuple[SelfCheck, ...] = ()
    columns: tuple[Column, ...]

    @field_validator("columns")
    @classmethod
    def _columns_are_distinct(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        for names in ([c.name for c in columns], [c.vizier for c in columns if c.vizier]):
            if doubled := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"columns defined twice: {', '.join(sorted(doubled))}")
        if reserved := RESERVED.intersection(column.name for column in columns):
            raise ValueError(f"names that a copy needs for itself: {', '.join(sorted(reserved))}")
        return columns

    @model_validator(mode="after")
    def _names_are_columns(self) -> Definition:
        known = {column.name for column in self.columns}
        named: dict[str, Sequence[str | None]] = {
            "ra_column": [self.ra_column],
            "dec_column": [self.dec_column],
            "id_column": [self.id_column],
            "label_column": [self.label_column],
            "default_columns": self.default_columns,
            "xmatch_columns": self.xmatch_columns,
            "star_catalog.magnitudes": self.star_catalog.columns if self.star_catalog else (),
            "columns.error": [column.error for column in self.columns],
        }
        named |= {f"self_checks.{check.name}": check.used for check in self.self_checks}
        for key, names in named.items():
            if unknown := [name for name in names if name is not None and name not in known]:
                raise ValueError(f"{key} names no column of the definition: {', '.join(unknown)}")
        self._check_types()
        if self.bulk and self.bulk.columns != len(self.bulk_columns):
            raise ValueError(f"bulk.columns says {self.bulk.columns}, the groups define {len(self.bulk_columns)}")
        return self

    def _check_types(self) -> None:
        """Refuse columns whose types cannot be what they are used for, before any row is read."""
        types = {column.name: column.type for column in self.columns}
        for name in (self.ra_column, self.dec_column):
            if types[name] != "float64":
                raise ValueError(f"the coordinate column {name} must be float64, it is {types[name]}")
        if self.id_column is not None and "int" not in (kind := types[self.id_column]):
            raise ValueError(f"the id column {self.id_column} must be of an integer type, it is {kind}")
        for check in self.self_checks:
            for name in check.used:
                if (types[name] == "string") != (name in check.texts):
                    wanted = "a string" if name in check.texts else "a number"
                    raise ValueError(f"self_checks.{check.name} needs {wanted} and {name} is {types[name]}")

    def __repr__(self) -> str:
        return f"<Definition {self.name}: {self.title}, {len(self.columns):,} columns>"

    def _repr_html_(self) -> str:
        facts = {
            "title": self.title,
            "rows of the whole": self.rows,
            "columns": len(self.columns),
            "positions": f"{self.ra_column}, {self.dec_column}, {self.frame}",
            "epoch": self.epoch,
            "radius, margin": f"{self.radius_arcsec:g}, {self.margin_arcsec:g} arcsec",
            "please cite": self.citation,
        }
        rows = [(column.name, column.unit, column.vizier or "", column.description) for column in self.columns]
        return as_html(f"{self.name}: a definition", facts, ("column", "unit", "VizieR", "description"), rows)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by canonical name."""
        return {column.name: column for column in self.columns}

    @property
    def bulk_columns(self) -> tuple[Column, ...]:
        """The columns of a bulk file, in its order."""
        return tuple(column for column in self.columns if column.bulk)

    def field(self, name: str) -> pa.Field:
        """Arrow field, with metadata, of a canonical column name."""
        return self.by_name[name].field

    def vizier_name(self, canonical: str) -> str:
        """VizieR's name of a canonical column, or the canonical name if VizieR has none."""
        column = self.by_name.get(canonical)
        return column.vizier if column is not None and column.vizier else canonical

    def canonical_name(self, name: str) -> str | None:
        """Canonical name of a column given by canonical name, VizieR name or alias; None if there is no such column."""
        if name in self.by_name:
            return name
        return next((c.name for c in self.columns if name == c.vizier or name in c.aliases), None)

    def canonical_names(self, schema: pa.Schema) -> dict[str, str]:
        """Map the columns of a source to canonical names.

        One name set is chosen for the whole source, canonical or VizieR, whichever holds the key columns: VizieR's
        short names (``ID``, ``var``) mean something else among a survey's own.

        Parameters
        ----------
        schema : pyarrow.Schema
            Columns of the source.

        Returns
        -------
        dict of str to str
            Source name to canonical name, for the columns that the definition knows, in the order of the source.
        """
        return _canonical.name_map(self, schema.names)

    def resolve_columns(self, names: Sequence[str]) -> list[str]:
        """Canonical names of columns asked for by any name, in the order asked.

        Raises
        ------
        DefinitionError
            A name is none of the definition's, or one column is asked for twice.
        """
        resolved = [(name, self.canonical_name(name)) for name in names]
        if unknown := [name for name, canonical in resolved if canonical is None]:
            raise DefinitionError(
                f"unknown columns: {', '.join(unknown)}", place=f"definition {self.name}", value=unknown
            )
        canonical = [found for _, found in resolved if found is not None]
        if doubled := sorted({name for name in canonical if canonical.count(name) > 1}):
            raise DefinitionError(
                f"columns asked for twice: {', '.join(doubled)}", place=f"definition {self.name}", value=doubled
            )
        return canonical

    def source_columns(self, schema: pa.Schema, columns: Sequence[str] | Literal["all"] | None = None) -> list[str]:
        """Columns of a source that a copy needs, under the source's names, in the order that the copy will have.

        Parameters
        ----------
        schema : pyarrow.Schema
            Columns of the source.
        columns : sequence of str, "all", or None
            Names asked for (any name set); all, those unknown to the definition too; or the default columns that the
            source has. Coordinates and the id column (where the source has one) are always among them.

        Raises
        ------
        DefinitionError
            The source lacks the coordinates or a column that is asked for by name.
        """
        return _canonical.source_columns(self, schema, columns)

    def canonicalise(self, batch: pa.RecordBatch, place: object = None) -> pa.RecordBatch:
        """Rename to canonical names, cast to the definition's types, and set missing values to null.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
            Rows under either name set. Columns that the definition does not know are kept as they are.
        place : object, optional
            Where the rows come from, for messages.

        Returns
        -------
        pyarrow.RecordBatch
            Same rows and column order; fields carry unit, UCD and description.

        Raises
        ------
        DefinitionError
            A value cannot be of its column's type, or a 64-bit integer was already rounded to a float.
        """
        return _canonical.canonicalise(self, batch, place)

    def upper_limits(self, table: pa.Table | pa.RecordBatch, column: str) -> pa.BooleanArray:
        """Tell which values of a column are upper limits, under canonical names.

        Parameters
        ----------
        table : pyarrow.Table or pyarrow.RecordBatch
        column : str
            Canonical name.

        Returns
        -------
        pyarrow.BooleanArray
            True for a value that is there while its error is missing; all false for a column without the rule.
        """
        return _canonical.upper_limits(self.by_name[column], table)

    def to_json(self) -> str:
        """Whole definition as JSON, for a copy's manifest."""
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Definition:
        """Definition from `to_json`.

        Raises
        ------
        DefinitionError
            The text is not JSON or not a definition.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _definition_file.explain(error, "definition snapshot") from error


def load_definition(name_or_file: str | Path) -> Definition:
    """Load a definition by name or from a TOML file.

    Parameters
    ----------
    name_or_file : str or Path
        Name of a definition that comes with the package, or path of a file (recognised by a slash or ``.toml``).

    Raises
    ------
    DefinitionError
        No such definition or file, or it is malformed; the message names file and key.
    """
    text = str(name_or_file)
    if isinstance(name_or_file, Path) or "/" in text or text.endswith(".toml"):
        return _load_file(Path(text).expanduser())
    path = _definition_file.shipped_files().get(text)
    if path is None:
        known = ", ".join(list_definitions())
        raise DefinitionError(
            f"no definition is named {text!r}", hint=f"known are: {known}; or give the path of a TOML file", value=text
        )
    return _load_shipped(path)


def list_definitions() -> list[str]:
    """Names of the definitions that come with the package, sorted."""
    return sorted(_definition_file.shipped_files())


def definition_for(schema: pa.Schema) -> Definition | None:
    """Find the shipped definition whose coordinate and label columns a source has, under either name set.

    Where several fit, the one that knows most of the source's columns is taken.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns of the source.

    Returns
    -------
    Definition or None
        None where no definition fits.
    """
    fitting = []
    for name in list_definitions():
        definition = load_definition(name)
        if _canonical.fits(definition, schema.names):
            fitting.append((len(definition.canonical_names(schema)), definition))
    if not fitting:
        return None
    best = max(count for count, _ in fitting)
    return next(definition for count, definition in fitting if count == best)


@lru_cache(maxsize=64)
def _load_shipped(path: Path) -> Definition:
    return _load_file(path)


def _load_file(path: Path) -> Definition:
    values = _definition_file.read(path)
    try:
        return Definition.model_validate(values)
    except ValidationError as error:
        raise _definition_file.explain(error, path) from error


def __dir__() -> list[str]:
    return sorted(__all__)
