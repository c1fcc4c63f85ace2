"""FITS binary tables, batch by batch: the header first, then big-endian records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits
from numpy.typing import NDArray

from xmatch_hats.errors import TableError
from xmatch_hats.tables.convert import to_numpy
from xmatch_hats.tables.metadata import text_of
from xmatch_hats.tables.plain import plain_table
from xmatch_hats.tables.source import BATCH_ROWS

_BLOCK = 2880

# TFORM letter, stored type and TZERO: FITS shifts signed bytes and wider unsigned integers by half their range.
_FORMS = {
    "bool": ("L", ">i1", 0), "uint8": ("B", ">u1", 0), "int8": ("B", ">u1", -128), "int16": ("I", ">i2", 0),
    "uint16": ("I", ">i2", 2**15), "int32": ("J", ">i4", 0), "uint32": ("J", ">i4", 2**31), "int64": ("K", ">i8", 0),
    "uint64": ("K", ">i8", 2**63), "float": ("E", ">f4", 0), "double": ("D", ">f8", 0),
}  # fmt: skip
_WIDER = {pa.uint8(): pa.int16(), pa.int16(): pa.int32()}
# A null mark in a shifted column is within the standard but stops astropy; the next wider type needs no shift.
_WITH_NULLS = {pa.int8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}


@dataclass(frozen=True)
class _Plan:
    name: str
    type: pa.DataType
    """Arrow type of the values, or of a list's items."""
    letter: str
    stored: np.dtype[Any]
    repeat: int
    zero: int
    null: int | None
    """Stored integer that stands for a missing value."""

    @property
    def form(self) -> str:
        return f"{self.repeat}{self.letter}" if self.repeat != 1 or self.letter == "A" else self.letter


def write_fits(table: pa.Table, file: IO[bytes], path: Path) -> None:
    """Write an empty primary HDU and one binary table."""
    table = plain_table(table, path)
    plans = [_plan(field.name, table[field.name], path) for field in table.schema]
    row_type = np.dtype([(f"c{i}", plan.stored, (plan.repeat,)) for i, plan in enumerate(plans)])
    header = _header(table, plans, row_type.itemsize)
    file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
    file.write(header.tostring().encode("ascii"))
    written = 0
    for start in range(0, table.num_rows, BATCH_ROWS):
        chunk = table.slice(start, BATCH_ROWS)
        records = np.zeros(chunk.num_rows, row_type)
        for i, plan in enumerate(plans):
            records[f"c{i}"] = _stored(plan, chunk.column(i)).reshape(chunk.num_rows, plan.repeat)
        written += file.write(records.tobytes())
    file.write(b"\x00" * (-written % _BLOCK))


def _header(table: pa.Table, plans: list[_Plan], row_bytes: int) -> fits.Header:
    header = fits.Header()
    for key, value in (
        ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", row_bytes), ("NAXIS2", table.num_rows),
        ("PCOUNT", 0), ("GCOUNT", 1), ("TFIELDS", len(plans)),
    ):  # fmt: skip
        header[key] = value
    for number, (plan, field) in enumerate(zip(plans, table.schema, strict=True), start=1):
        header[f"TTYPE{number}"] = plan.name
        header[f"TFORM{number}"] = plan.form
        if plan.zero:
            header[f"TSCAL{number}"] = 1
            header[f"TZERO{number}"] = plan.zero
        if plan.null is not None:
            header[f"TNULL{number}"] = plan.null
        for key, word in (("unit", "TUNIT"), ("ucd", "TUCD"), ("description", "TCOMM")):
            if text := text_of(field, key):
                # Headers are ASCII; in texts for people a question mark does less harm than a refusal.
                header[f"{word}{number}"] = " ".join(text.encode("ascii", "replace").decode("ascii").split())
    return header


def _plan(name: str, column: pa.ChunkedArray, path: Path) -> _Plan:
    if not name.isascii() or not name.isprintable() or len(name) > 68:
        raise TableError(
            f"a FITS column cannot be called {name!r}",
            place=path,
            hint="rename it, or write another format",
            value=name,
        )
    if pa.types.is_string(column.type):
        if pc.all(pc.string_is_ascii(column)).as_py() is False:
            raise TableError(
                f"column {name} holds text that is not ASCII, which FITS cannot",
                place=path,
                hint="write .vot, .ecsv or .parquet, or drop the column",
                value=name,
            )
        width = pc.max(pc.binary_length(column)).as_py() or 1
        return _Plan(name, column.type, "A", np.dtype("u1"), width, 0, None)
    repeat = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 1
    type_ = column.type.value_type if pa.types.is_fixed_size_list(column.type) else column.type
    letter, stored, zero = _FORMS[str(type_)]
    null = None
    values, mask = to_numpy(column, name) if pa.types.is_integer(type_) else (np.zeros(0), np.zeros(0, bool))
    if mask.any():
        type_ = _type_with_nulls(type_, values[~mask])
        letter, stored, zero = _FORMS[str(type_)]
        null = _unused(_shifted(values[~mask].astype(type_.to_pandas_dtype()), np.dtype(stored), zero))
        if null is None:
            # Every value of a narrow type is taken: a wider one has room for a mark.
            type_ = _WIDER[type_]
            letter, stored, zero = _FORMS[str(type_)]
            null = int(np.iinfo(stored).min)
    return _Plan(name, type_, letter, np.dtype(stored), repeat, zero, null)


def _type_with_nulls(type_: pa.DataType, values: NDArray[Any]) -> pa.DataType:
    if type_ == pa.uint64() and (not values.size or values.max() < 2**63):
        return pa.int64()
    return _WITH_NULLS.get(type_, type_)


def _unused(stored: NDArray[Any]) -> int | None:
    """Return an integer of the stored type that no value has, None if all are taken."""
    limits = np.iinfo(stored.dtype)
    for candidate in (limits.min, limits.max):
        if not (stored == candidate).any():
            return int(candidate)
    taken = np.unique(stored)
    gaps = np.flatnonzero(np.diff(taken.astype(np.float64)) > 1)
    return int(taken[gaps[0]]) + 1 if gaps.size else None


def _shifted(values: NDArray[Any], stored: np.dtype[Any], zero: int) -> NDArray[Any]:
    native = stored.newbyteorder("=")
    if not zero:
        return values.astype(native)
    # Flipping the highest bit shifts by half the range, without overflow.
    bits = values.view(f"u{native.itemsize}") ^ np.array(1 << (8 * native.itemsize - 1), f"u{native.itemsize}")
    return bits.view(native)


def _stored(plan: _Plan, column: pa.ChunkedArray) -> NDArray[Any]:
    if plan.letter == "A":
        return _characters(column, plan.repeat)
    values, mask = to_numpy(column, plan.name)
    if plan.letter == "L":
        return np.where(mask, 0, np.where(values, ord("T"), ord("F"))).astype(np.int8)
    if plan.letter in "ED":
        return np.where(mask, np.nan, values)
    stored = _shifted(np.ascontiguousarray(values.astype(plan.type.to_pandas_dtype())), plan.stored, plan.zero)
    if plan.null is not None:
        stored = np.where(mask, np.array(plan.null, stored.dtype), stored)
    return stored


def _characters(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    padded = pc.utf8_rpad(pc.fill_null(column, ""), width, " ").combine_chunks()
    fixed = pc.cast(pc.cast(padded, pa.binary()), pa.binary(width))
    data = np.frombuffer(fixed.buffers()[1], np.uint8)
    return data[fixed.offset * width : (fixed.offset + len(fixed)) * width]
