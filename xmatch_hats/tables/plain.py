"""Reduce a table to the few types that every file format has."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from xmatch_hats.errors import TableError
from xmatch_hats.tables.convert import iso_text


def plain_table(table: pa.Table, path: Path) -> pa.Table:
    """Reduce columns to bool, 8- to 64-bit integers, float32, float64, string, and fixed-size lists of numbers.

    Field metadata is kept.

    Raises
    ------
    TableError
        A column is of another kind; ``path`` names the file that cannot hold it.
    """
    for index, field in enumerate(table.schema):
        column = _plain_column(table.column(index), field.name, path)
        if column.type != field.type:
            table = table.set_column(index, field.with_type(column.type), column)
    return table


def _plain_column(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return _plain_column(pc.cast(column, type_.value_type), name, path)
    if pa.types.is_null(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pc.cast(column, pa.string())
    if pa.types.is_float16(type_):
        return pc.cast(column, pa.float32())
    if pa.types.is_decimal(type_):
        return pc.cast(column, pa.float64())
    if pa.types.is_temporal(type_) and not pa.types.is_duration(type_):
        return iso_text(column)
    if pa.types.is_fixed_size_list(type_) and (
        is_scalar(type_.value_type) and not pa.types.is_string(type_.value_type)
    ):
        return column
    if not is_scalar(type_):
        raise TableError(
            f"column {name} of type {type_} has no place in this format",
            place=path,
            hint="drop the column, or write .parquet",
            value=name,
        )
    return column


def is_scalar(type_: pa.DataType) -> bool:
    """Whether a type is one of the plain ones, lists apart."""
    return bool(
        pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_string(type_)
        or type_ in (pa.float32(), pa.float64())
    )  # fmt: skip
