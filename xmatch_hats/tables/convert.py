"""Arrow tables to and from astropy and pandas, without a 64-bit integer ever passing through a float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import make_field, text_of

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import Table


def from_astropy(table: Table) -> pa.Table:
    """Convert an astropy Table or QTable.

    Masked values become null, NaN stays NaN; units, descriptions and ``meta["ucd"]`` become field metadata. A SkyCoord
    column becomes two, ``NAME.ra`` and ``NAME.dec`` in ICRS degrees; a Time column becomes ISO 8601 strings.

    Raises
    ------
    TableError
        A column is of a kind that has no counterpart in Arrow.
    """
    fields, arrays = [], []
    for name in table.colnames:
        for field, array in _from_astropy_column(str(name), table[name]):
            fields.append(field)
            arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _from_astropy_column(name: str, column: Any) -> list[tuple[pa.Field, pa.Array]]:
    from astropy.coordinates import SkyCoord
    from astropy.time import Time

    if isinstance(column, SkyCoord):
        icrs = column.icrs
        return [
            (make_field(f"{name}.{key}", pa.float64(), unit="deg", ucd=f"pos.eq.{key}"), pa.array(angle.deg))
            for key, angle in (("ra", icrs.ra), ("dec", icrs.dec))
        ]
    info = column.info
    ucd = (info.meta or {}).get("ucd")
    if isinstance(column, Time):
        values = np.ma.getdata(column.isot)
        array = pa.array(np.asarray(values, dtype=object), pa.string(), mask=np.asarray(column.mask))
        return [(make_field(name, array.type, ucd=ucd, description=info.description), array)]
    mask = getattr(column, "mask", None)
    data = getattr(column, "value", column)
    data = getattr(data, "unmasked", data)
    try:
        array = from_numpy(np.ma.getdata(np.asanyarray(data)), mask)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TableError(f"column {name} cannot be converted: {error}", hint="drop it", value=name) from error
    unit = (info.meta or {}).get("unit", "") if info.unit is None else unit_text(info.unit)
    return [(make_field(name, array.type, unit=unit, ucd=ucd, description=info.description), array)]


def from_numpy(data: np.ndarray[Any, Any], mask: Any) -> pa.Array:
    """Arrow array of NumPy values, of any byte order.

    Parameters
    ----------
    data : ndarray, shape (n,) or (n, k)
        Two dimensions become lists of a fixed size.
    mask : array_like of bool, same shape, or None
        True where missing.

    Raises
    ------
    pyarrow.ArrowInvalid, pyarrow.ArrowTypeError
        The values have no counterpart in Arrow.
    """
    data = np.asarray(data)
    mask = np.zeros(data.shape, dtype=bool) if mask is None else np.broadcast_to(np.asarray(mask), data.shape)
    if data.ndim == 2 and data.dtype.kind != "O":
        return pa.FixedSizeListArray.from_arrays(from_numpy(data.reshape(-1), mask.reshape(-1)), data.shape[1])
    if data.ndim > 2 or data.dtype.kind in "cV":
        raise pa.ArrowInvalid(f"values of {data.dtype} in {data.ndim} dimensions have no counterpart")
    if data.dtype.kind == "S":
        data = np.char.decode(data, "utf-8")
    if data.dtype.kind == "U":
        return pa.array(data.astype(object), pa.string(), mask=np.ascontiguousarray(mask))
    if data.dtype.kind == "O":
        return pa.array([None if gap else _plain(value) for value, gap in zip(data, mask.tolist(), strict=True)])
    native = np.ascontiguousarray(data).astype(data.dtype.newbyteorder("="), copy=False)
    return pa.array(native, mask=np.ascontiguousarray(mask) if mask.any() else None)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        return [None if item is np.ma.masked else item.item() for item in value]
    return value.decode("utf-8") if isinstance(value, bytes) else value


def unit_text(unit: Any) -> str:
    """Text of an astropy unit in the way that catalogues write it (``mas/yr``); empty for None."""
    return "" if unit is None else str(unit.to_string()).replace(" / ", "/")


def to_astropy(table: pa.Table, *, quantities: bool = False) -> Table:
    """Convert to an astropy table.

    Nulls become masked values; units, descriptions and UCDs (as ``meta["ucd"]``) are kept. Dates and times become
    ISO 8601 strings.

    Parameters
    ----------
    table : pyarrow.Table
    quantities : bool, optional
        Make a QTable, whose columns with units are quantities. Those are floats: 64-bit integers stay plain columns
        there, with the unit as ``meta["unit"]``.

    Raises
    ------
    TableError
        A column's type has no counterpart in astropy.
    """
    from astropy.table import QTable, Table

    kind = QTable if quantities else Table
    return kind([_to_astropy_column(field, table[field.name], quantities) for field in table.schema])


def _to_astropy_column(field: pa.Field, column: pa.ChunkedArray, quantities: bool) -> Any:
    from astropy import units
    from astropy.table import Column, MaskedColumn

    values, mask = to_numpy(column, field.name)
    unit = text_of(field, "unit")
    meta = {"ucd": ucd} if (ucd := text_of(field, "ucd")) else {}
    if unit and quantities and values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        meta["unit"] = unit
        unit = ""
    keywords = {
        "name": field.name,
        "unit": units.Unit(unit, parse_strict="silent") if unit else None,
        "description": text_of(field, "description") or None,
        "meta": meta,
    }
    return MaskedColumn(values, mask=mask, **keywords) if mask.any() else Column(values, **keywords)


def to_numpy(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Values and mask of a column, in NumPy's own types; anything stands under the mask.

    Parameters
    ----------
    column : pyarrow.ChunkedArray, length n
    name : str
        For messages.

    Returns
    -------
    values : ndarray, shape (n,) or (n, k) for lists of a fixed size
    mask : ndarray of bool, same shape

    Raises
    ------
    TableError
        The type has no counterpart in NumPy.
    """
    type_ = column.type
    if pa.types.is_dictionary(type_):
        column = pc.cast(column, type_.value_type)
        type_ = column.type
    if pa.types.is_fixed_size_list(type_):
        return _lists_to_numpy(column, type_.list_size, name)
    if pa.types.is_temporal(type_) and not pa.types.is_duration(type_):
        column = iso_text(column)
        type_ = column.type
    mask = column.is_null().to_numpy()
    if pa.types.is_null(type_) or _is_text(type_):
        filled = pc.fill_null(pc.cast(column, pa.string()), "")
        values = filled.to_numpy()
        return (values.astype(str) if len(values) else np.zeros(0, dtype="U1")), mask
    if pa.types.is_decimal(type_):
        column = pc.cast(column, pa.float64())
    elif not (pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)):
        raise TableError(
            f"column {name} of type {type_} has no counterpart here", hint="drop or convert it", value=name
        )
    return pc.fill_null(column, pa.scalar(0).cast(column.type)).to_numpy(), mask


def _lists_to_numpy(column: pa.ChunkedArray, size: int, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    lists = column.combine_chunks()
    gaps = lists.is_null().to_numpy(zero_copy_only=False)
    # A missing list has no items of its own in `flatten`, so they are taken by place.
    items = lists.values.slice(lists.offset * size, len(lists) * size)
    values, mask = to_numpy(pa.chunked_array([items]), name)
    shape = (len(lists), size)
    return values.reshape(shape), mask.reshape(shape) | gaps[:, None]


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def iso_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates and times as ISO 8601 strings, a zone other than none as UTC with a Z."""
    type_ = column.type
    if not pa.types.is_timestamp(type_):
        return pc.cast(column, pa.string())
    text = pc.strftime(
        column if type_.tz is None else column.cast(pa.timestamp(type_.unit, "UTC")), "%Y-%m-%dT%H:%M:%S"
    )
    return text if type_.tz is None else pc.binary_join_element_wise(text, "Z", "")


def from_pandas(frame: pd.DataFrame) -> pa.Table:
    """Convert a pandas data frame; its index is left out, and NaN becomes null as pandas means it.

    Raises
    ------
    TableError
        A column mixes types.
    """
    frame = frame.rename(columns=str)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TableError(f"the data frame cannot be converted: {error}", hint="give each column one type") from error
    return table.replace_schema_metadata(None)


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Convert to a pandas data frame of Arrow types, so that integers with gaps stay integers."""
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)
