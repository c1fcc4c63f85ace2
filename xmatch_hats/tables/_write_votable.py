"""VOTable 1.4 with TABLEDATA, batch by batch: whole rows of XML are joined from Arrow strings."""

from __future__ import annotations

from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa
import pyarrow.compute as pc

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import text_of
from xmatch_hats.tables.plain import plain_table
from xmatch_hats.tables.source import BATCH_ROWS

_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
<RESOURCE type="results">
<TABLE nrows="{rows}">
"""
_TAIL = "</TABLEDATA>\n</DATA>\n</TABLE>\n</RESOURCE>\n</VOTABLE>\n"
_CONTROLS = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"

# The format has no signed bytes and, bytes apart, no unsigned integers: the next wider type takes them.
_DATATYPES = {
    "bool": "boolean", "uint8": "unsignedByte", "int8": "short", "int16": "short", "uint16": "int", "int32": "int",
    "uint32": "long", "int64": "long", "uint64": "long", "float": "float", "double": "double",
}  # fmt: skip


def write_votable(table: pa.Table, file: IO[bytes], path: Path) -> None:
    """Write a VOTable; a missing value is an empty cell."""
    is_time = {f.name for f in table.schema if pa.types.is_timestamp(f.type)}
    table = plain_table(table, path)
    file.write(_HEAD.format(rows=table.num_rows).encode())
    for field in table.schema:
        _check(field, table[field.name], path)
        file.write(_field(field, table[field.name], field.name in is_time).encode())
    file.write(b"<DATA>\n<TABLEDATA>\n")
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        if batch.num_rows and batch.num_columns:
            file.write(_rows(batch))
    file.write(_TAIL.encode())


def _check(field: pa.Field, column: pa.ChunkedArray, path: Path) -> None:
    if field.type == pa.uint64() and (pc.max(column).as_py() or 0) >= 2**63:
        problem = "holds integers of 2**63 and more, which a VOTable cannot"
    elif pa.types.is_string(field.type) and pc.any(pc.match_substring_regex(column, _CONTROLS)).as_py():
        problem = "holds control characters, which XML cannot"
    else:
        return
    raise TableError(f"column {field.name} {problem}", place=path, hint="write .fits or .parquet", value=field.name)


def _field(field: pa.Field, column: pa.ChunkedArray, is_time: bool) -> str:
    attributes = {"name": field.name}
    if pa.types.is_string(field.type):
        ascii_only = pc.all(pc.string_is_ascii(column)).as_py() is not False
        attributes |= {"datatype": "char" if ascii_only else "unicodeChar", "arraysize": "*"}
        if is_time:
            attributes["xtype"] = "timestamp"
    elif pa.types.is_fixed_size_list(field.type):
        attributes |= {"datatype": _DATATYPES[str(field.type.value_type)], "arraysize": str(field.type.list_size)}
    else:
        attributes["datatype"] = _DATATYPES[str(field.type)]
    attributes |= {key: text for key in ("unit", "ucd") if (text := text_of(field, key))}
    words = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
    description = text_of(field, "description")
    inside = f"<DESCRIPTION>{escape(description)}</DESCRIPTION>" if description else ""
    return f"<FIELD {words}>{inside}</FIELD>\n"


def _rows(batch: pa.RecordBatch) -> memoryview:
    pieces: list[pa.Array | str] = ["<TR><TD>"]
    for column in batch.columns:
        pieces += [_cells(column), "</TD><TD>"]
    pieces[-1] = "</TD></TR>\n"
    # The result holds the rows one after another: its bytes are the file's.
    rows = pc.binary_join_element_wise(
        *(piece if isinstance(piece, pa.Array) else pa.scalar(piece, pa.large_string()) for piece in pieces),
        pa.scalar("", pa.large_string()), null_handling="replace", null_replacement="",
    )  # fmt: skip
    offsets = memoryview(rows.buffers()[1]).cast("q")
    return memoryview(rows.buffers()[2])[offsets[rows.offset] : offsets[rows.offset + len(rows)]]


def _cells(column: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_list(column.type):
        size = column.type.list_size
        items = pc.fill_null(_numbers(column.values.slice(column.offset * size, len(column) * size)), "NaN")
        lists = pa.FixedSizeListArray.from_arrays(items, size)
        joined = pc.binary_join(lists.cast(pa.list_(pa.large_string())), pa.scalar(" ", pa.large_string()))
        return pc.if_else(column.is_null(), pa.scalar(None, pa.large_string()), joined)
    if pa.types.is_string(column.type):
        text = pc.cast(column, pa.large_string())
        for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
            text = pc.replace_substring(text, character, entity)
        return text
    return _numbers(column)


def _numbers(column: pa.Array) -> pa.Array:
    text = pc.cast(column, pa.large_string())
    if pa.types.is_floating(column.type):
        for word, standard in (("nan", "NaN"), ("inf", "+Inf"), ("-inf", "-Inf")):
            text = pc.if_else(pc.equal(text, word), pa.scalar(standard, pa.large_string()), text)
    return text
