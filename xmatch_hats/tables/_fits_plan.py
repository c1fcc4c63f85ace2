"""How Arrow columns are stored in a FITS binary table: decided from counts, so that rows need not be in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits
from numpy.typing import NDArray

from xmatch_hats.errors import TableError
from xmatch_hats.tables.convert import to_numpy
from xmatch_hats.tables.metadata import text_of

# TFORM letter, stored type and TZERO: FITS shifts signed bytes and wider unsigned integers by half their range.
_FORMS = {
    "bool": ("L", ">i1", 0), "uint8": ("B", ">u1", 0), "int8": ("B", ">u1", -128), "int16": ("I", ">i2", 0),
    "uint16": ("I", ">i2", 2**15), "int32": ("J", ">i4", 0), "uint32": ("J", ">i4", 2**31), "int64": ("K", ">i8", 0),
    "uint64": ("K", ">i8", 2**63), "float": ("E", ">f4", 0), "double": ("D", ">f8", 0),
}  # fmt: skip
_WIDER = {pa.uint8(): pa.int16(), pa.int16(): pa.int32(), pa.int32(): pa.int64()}
# A null mark in a shifted column is within the standard but stops astropy; the next wider type needs no shift.
_WITH_NULLS = {pa.int8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
_CHOICES = 32
"""Marks that are tried for missing values of integers of more than 16 bits; of narrower ones all are."""


@dataclass(frozen=True)
class ColumnPlan:
    """How one column is stored."""

    field: pa.Field
    type: pa.DataType
    """Arrow type of the values, or of a list's items."""
    letter: str
    stored: np.dtype[Any]
    repeat: int
    zero: int
    null: int | None
    """Stored integer that stands for a missing value."""

    @property
    def name(self) -> str:
        """Of the column."""
        return str(self.field.name)

    @property
    def form(self) -> str:
        """Its TFORM."""
        return f"{self.repeat}{self.letter}" if self.repeat != 1 or self.letter == "A" else self.letter

    def describe(self, header: fits.Header, number: int) -> None:
        """Write what a header says of it as column ``number``, from one."""
        header[f"TTYPE{number}"] = self.name
        header[f"TFORM{number}"] = self.form
        if self.zero:
            header[f"TSCAL{number}"] = 1
            header[f"TZERO{number}"] = self.zero
        if self.null is not None:
            header[f"TNULL{number}"] = self.null
        for key, word in (("unit", "TUNIT"), ("ucd", "TUCD"), ("description", "TCOMM")):
            if text := text_of(self.field, key):
                # Headers are ASCII; in texts for people a question mark does less harm than a refusal.
                header[f"{word}{number}"] = " ".join(text.encode("ascii", "replace").decode("ascii").split())

    def encode(self, column: pa.ChunkedArray) -> NDArray[Any]:
        """Stored values of some rows, shape (n, ``repeat``)."""
        return self._encoded(column).reshape(len(column), self.repeat)

    def _encoded(self, column: pa.ChunkedArray) -> NDArray[Any]:
        if self.letter == "A":
            return _characters(column, self.repeat)
        values, mask = to_numpy(column, self.name)
        if self.letter == "L":
            return np.where(mask, 0, np.where(values, ord("T"), ord("F"))).astype(np.int8)
        if self.letter in "ED":
            return np.where(mask, np.nan, values)
        stored = _shifted(np.ascontiguousarray(values.astype(self.type.to_pandas_dtype())), self.stored, self.zero)
        if self.null is not None:
            stored = np.where(mask, np.array(self.null, stored.dtype), stored)
        return stored


class ColumnTally:
    """What has to be known of a whole column before its first row can be stored; rows may come in pieces.

    Parameters
    ----------
    field : pyarrow.Field
        Of a plain type, see `plain_table`.
    path : Path
        File that is written, for messages.

    Raises
    ------
    TableError
        FITS has no such name.
    """

    def __init__(self, field: pa.Field, path: Path) -> None:
        name = field.name
        if not name.isascii() or not name.isprintable() or len(name) > 68:
            raise TableError(
                f"a FITS column cannot be called {name!r}",
                place=path,
                hint="rename it, or write another format",
                value=name,
            )
        self._field, self._path = field, path
        self._repeat = field.type.list_size if pa.types.is_fixed_size_list(field.type) else 1
        self._type = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
        self._width = 0
        self._has_gaps = False
        self._largest = 0
        self._choices = _choices(self._type) if pa.types.is_integer(self._type) else np.empty(0, np.int64)
        self._taken = np.zeros(len(self._choices), dtype=bool)

    def add(self, column: pa.ChunkedArray) -> None:
        """Count some rows in.

        Raises
        ------
        TableError
            They hold text that is not ASCII.
        """
        if pa.types.is_string(self._type):
            if pc.all(pc.string_is_ascii(column)).as_py() is False:
                raise TableError(
                    f"column {self._field.name} holds text that is not ASCII, which FITS cannot",
                    place=self._path,
                    hint="write .vot, .ecsv or .parquet, or drop the column",
                    value=self._field.name,
                )
            self._width = max(self._width, pc.max(pc.binary_length(column)).as_py() or 0)
        elif len(self._choices) and len(column):
            values, mask = to_numpy(column, self._field.name)
            self._has_gaps = self._has_gaps or bool(mask.any())
            values = values[~mask]
            self._taken |= np.isin(self._choices, values)
            self._largest = max(self._largest, int(values.max(initial=0)))

    def plan(self) -> ColumnPlan:
        """Decide, after all rows were counted.

        Raises
        ------
        TableError
            No integer is left that could stand for a missing one.
        """
        if pa.types.is_string(self._type):
            return ColumnPlan(self._field, self._type, "A", np.dtype("u1"), self._width or 1, 0, None)
        type_, null = self._type, None
        if self._has_gaps:
            type_ = _WITH_NULLS.get(type_, type_)
            if type_ == pa.uint64() and self._largest < 2**63:
                type_ = pa.int64()
            null = int(np.iinfo(type_.to_pandas_dtype()).min) if type_ != self._type else self._free()
            if null is None:
                # Every value of a narrow type is taken: a wider one has room for a mark.
                type_ = self._wider()
                null = int(np.iinfo(type_.to_pandas_dtype()).min)
        letter, stored, zero = _FORMS[str(type_)]
        if null is not None and zero:
            null -= zero
        return ColumnPlan(self._field, type_, letter, np.dtype(stored), self._repeat, zero, null)

    def _free(self) -> int | None:
        free = np.flatnonzero(~self._taken)
        return int(self._choices[free[0]]) if len(free) else None

    def _wider(self) -> pa.DataType:
        if self._type not in _WIDER:
            raise TableError(
                f"column {self._field.name} leaves no integer for missing values", place=self._path,
                hint="drop the column, or write .parquet", value=self._field.name,
            )  # fmt: skip
        return _WIDER[self._type]


def records_of(table: pa.Table, plans: Sequence[ColumnPlan]) -> NDArray[Any]:
    """Rows as they are stored, shape (n,), of a structured type without gaps."""
    records = np.zeros(table.num_rows, [(f"c{i}", plan.stored, (plan.repeat,)) for i, plan in enumerate(plans)])
    for i, plan in enumerate(plans):
        records[f"c{i}"] = plan.encode(table.column(i))
    return records


def _choices(type_: pa.DataType) -> NDArray[np.integer]:
    """Values that may stand for missing ones, the likeliest first: the ends of the range, then what lies within."""
    kind = np.dtype(type_.to_pandas_dtype())
    low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    if kind.itemsize <= 2:
        return np.array([low, high, *range(low + 1, high)], kind)
    half = _CHOICES // 2
    return np.array([value for step in range(half) for value in (low + step, high - step)], kind)


def _shifted(values: NDArray[Any], stored: np.dtype[Any], zero: int) -> NDArray[Any]:
    native = stored.newbyteorder("=")
    if not zero:
        return values.astype(native)
    # Flipping the highest bit shifts by half the range, without overflow.
    bits = values.view(f"u{native.itemsize}") ^ np.array(1 << (8 * native.itemsize - 1), f"u{native.itemsize}")
    return bits.view(native)


def _characters(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    padded = pc.utf8_rpad(pc.fill_null(column, ""), width, " ").combine_chunks()
    fixed = pc.cast(pc.cast(padded, pa.binary()), pa.binary(width))
    data = np.frombuffer(fixed.buffers()[1], np.uint8)
    return data[fixed.offset * width : (fixed.offset + len(fixed)) * width]
