"""One column of a FITS binary table: from big-endian records to Arrow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import make_field

_TFORM = re.compile(r"^\s*(\d*)([LXBIJKAEDCMPQ])")
_INTEGERS = {"B": pa.uint8(), "I": pa.int16(), "J": pa.int32(), "K": pa.int64()}
_FLOATS = {"E": pa.float32(), "D": pa.float64()}
_UNSUPPORTED = {
    "X": "bits", "C": "complex numbers", "M": "complex numbers", "P": "arrays of varying length",
    "Q": "arrays of varying length",
}  # fmt: skip
# FITS has no unsigned 16 to 64 bits nor signed bytes: they are stored shifted by half their range.
_SHIFTED = {
    ("B", -128): pa.int8(), ("I", 2**15): pa.uint16(), ("J", 2**31): pa.uint32(), ("K", 2**63): pa.uint64(),
}  # fmt: skip


@dataclass(frozen=True)
class FitsColumn:
    """How one column is stored and what it becomes."""

    field: pa.Field
    stored_name: str
    """Its name in the record type."""
    code: str
    """Letter of its TFORM."""
    repeat: int
    null: int | None
    """Stored integer that means "missing"."""
    scale: float
    zero: float | int

    def convert(self, records: NDArray[Any]) -> pa.Array:
        """Convert the column's part of some rows.

        Parameters
        ----------
        records : structured ndarray, shape (n,)

        Returns
        -------
        pyarrow.Array, length n
        """
        rows = len(records)
        if self.repeat == 0:
            return pa.nulls(rows, self.field.type)
        stored = records[self.stored_name]
        if self.code == "A":
            return _strings(np.ascontiguousarray(stored).view(np.uint8).reshape(rows, self.repeat))
        values = self._scalars(stored.reshape(-1))
        if pa.types.is_fixed_size_list(self.field.type):
            return pa.FixedSizeListArray.from_arrays(values, self.repeat)
        return values

    def _scalars(self, stored: NDArray[Any]) -> pa.Array:
        native = np.ascontiguousarray(stored).astype(stored.dtype.newbyteorder("="), copy=False)
        if self.code == "L":
            return pa.array(native == ord("T"), mask=(native != ord("T")) & (native != ord("F")))
        missing = None if self.null is None or self.code in _FLOATS else native == self.null
        type_ = self.field.type.value_type if pa.types.is_fixed_size_list(self.field.type) else self.field.type
        values = self._unscaled(native, type_)
        if pa.types.is_floating(type_):
            nan = np.isnan(values)
            missing = nan if missing is None else missing | nan
        return pa.array(values, type=type_, mask=missing)

    def _unscaled(self, native: NDArray[Any], type_: pa.DataType) -> NDArray[Any]:
        if self.scale == 1 and self.zero == 0:
            return native
        if (self.code, self.zero) in _SHIFTED and self.scale == 1:
            unsigned = native.view(np.dtype(f"u{native.dtype.itemsize}"))
            flipped = unsigned ^ unsigned.dtype.type(1 << (8 * native.dtype.itemsize - 1))
            shifted: NDArray[Any] = flipped.view(type_.to_pandas_dtype())
            return shifted
        if pa.types.is_integer(type_):
            return native.astype(np.int64) + int(self.zero)
        return native.astype(np.float64) * self.scale + self.zero


def make_column(header: Any, number: int, name: str, stored_name: str, path: Path) -> FitsColumn:
    """Read what a header says of column ``number`` (from one).

    Raises
    ------
    TableError
        The column is of a kind that has no counterpart here.
    """
    found = _TFORM.match(header[f"TFORM{number}"])
    code = found.group(2) if found else "?"
    if found is None or code in _UNSUPPORTED:
        raise TableError(
            f"column {name} holds {_UNSUPPORTED.get(code, 'values of an unknown kind')} ({header[f'TFORM{number}']})",
            place=path,
            hint="drop the column, for instance with astropy's Table.remove_column",
            value=name,
        )
    repeat = int(found.group(1) or 1)
    scale, zero = header.get(f"TSCAL{number}", 1), header.get(f"TZERO{number}", 0)
    type_ = _type_of(code, scale, zero)
    if code != "A" and (repeat > 1 or header.get(f"TDIM{number}")):
        type_ = pa.list_(type_, repeat)
    elif code == "A" and "," in str(header.get(f"TDIM{number}", "")):
        raise TableError(f"column {name} holds arrays of strings", place=path, hint="drop the column", value=name)
    texts = {key: header.get(word + str(number)) for key, word in
             (("unit", "TUNIT"), ("ucd", "TUCD"), ("description", "TCOMM"))}  # fmt: skip
    null = header.get(f"TNULL{number}")
    null = null if isinstance(null, int) and code in _INTEGERS else None
    return FitsColumn(make_field(name, type_, **texts), stored_name, code, repeat, null, scale, zero)


def _type_of(code: str, scale: float, zero: float) -> pa.DataType:
    if code == "A":
        return pa.string()
    if code == "L":
        return pa.bool_()
    if code in _FLOATS:
        return _FLOATS[code] if scale == 1 and zero == 0 else pa.float64()
    if scale == 1 and (code, zero) in _SHIFTED:
        return _SHIFTED[(code, int(zero))]
    if scale == 1 and zero == 0:
        return _INTEGERS[code]
    if scale == 1 and float(zero).is_integer() and code != "K" and abs(zero) < 2**62:
        return pa.int64()
    return pa.float64()


def _strings(cells: NDArray[np.uint8]) -> pa.Array:
    """Strings of a byte matrix: they end at a NUL or before the blanks that fill the field; empty ones are null."""
    if (cells == 0).any():
        cells = np.where(np.logical_or.accumulate(cells == 0, axis=1), np.uint8(32), cells)
    rows, width = cells.shape
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), rows, [None, pa.py_buffer(np.ascontiguousarray(cells))]
    )
    try:
        text = pc.cast(pc.cast(fixed, pa.binary()), pa.string())
    except pa.ArrowInvalid:
        # The standard allows ASCII only; what breaks that rule and is not UTF-8 is most often Latin-1.
        text = pa.array([bytes(cell).decode("latin-1") for cell in cells], pa.string())
    text = pc.utf8_rtrim(text, " ")
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
