"""ECSV: CSV under a YAML header with types, units and descriptions, as a stream.

Columns of arrays and objects are rare; files that have them are read whole by astropy.
"""

from __future__ import annotations

import csv
import warnings
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
from astropy.io.ascii import InconsistentTableError
from astropy.table import Table
from astropy.table.meta import YamlParseError, get_header_from_yaml
from astropy.utils.exceptions import AstropyWarning

from xmatch_hats.errors import TableError
from xmatch_hats.tables.convert import from_astropy
from xmatch_hats.tables.delimited import DelimitedSource, Layout, split_lines
from xmatch_hats.tables.memory import MemorySource
from xmatch_hats.tables.metadata import make_field
from xmatch_hats.tables.source import TableSource
from xmatch_hats.tables.streams import BROKEN, one_line, read_head

_HEAD_BYTES = 4 << 20
_TYPES = {
    "bool": pa.bool_(), "string": pa.string(), "float16": pa.float32(), "float32": pa.float32(),
    "float64": pa.float64(), "float128": pa.float64(), "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(),
    "int64": pa.int64(), "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(),
}  # fmt: skip
_PLAIN_MIXINS = ("astropy.units.quantity.Quantity", "astropy.table.column.MaskedColumn")


def open_ecsv(path: Path) -> TableSource:
    """Open an ECSV file.

    Raises
    ------
    TableError
        The header is no ECSV header, or the column names under it disagree with it.
    """
    # The last bytes may be half a character; the rows are decoded strictly later.
    lines = split_lines(read_head(path, _HEAD_BYTES).decode("utf-8-sig", "ignore"))
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    header = _header(path, comments)
    names_at = next((i for i in range(len(comments), len(lines)) if lines[i].strip()), None)
    delimiter = header.get("delimiter", " ")
    names = tuple(column["name"] for column in header["datatype"])
    found = next(csv.reader([lines[names_at]], delimiter=delimiter), []) if names_at is not None else []
    if names_at is None or tuple(found) != names:
        raise TableError(
            "the line of column names disagrees with the header",
            place=f"{path}, line {(names_at if names_at is not None else len(lines)) + 1}",
            hint=f"the header says: {', '.join(names)}",
        )
    if not all(_is_plain(column) for column in header["datatype"]) or _has_objects(header):
        return _read_whole(path)
    fields = {c["name"]: _field(c) for c in header["datatype"]}
    layout = Layout(
        delimiter, names, names_at + 1, empty=not any(line.strip() for line in lines[names_at + 1 :]),
        null_words=("",), quoted_nulls=True,
    )  # fmt: skip
    types = {name: field.type for name, field in fields.items()}
    return DelimitedSource(path, layout, types, trusted=True, fields=fields)


def _header(path: Path, comments: list[str]) -> dict[str, Any]:
    body = [line[2:] for line in comments if not line.startswith(("# %", "##"))]
    try:
        header = get_header_from_yaml(body)
    except (YamlParseError, ValueError, TypeError, KeyError) as error:
        raise TableError(f"its ECSV header is malformed: {one_line(error.__cause__ or error)}", place=path) from error
    columns = header.get("datatype") if isinstance(header, dict) else None
    if not isinstance(columns, list) or not all(
        isinstance(c, dict) and {"name", "datatype"} <= c.keys() for c in columns
    ):
        raise TableError("its ECSV header names no columns", place=path)
    if header.get("delimiter", " ") not in (" ", ","):
        raise TableError("its ECSV header has a delimiter that is neither space nor comma", place=path)
    header["datatype"] = [{**column, "name": str(column["name"])} for column in columns]
    return header


def _is_plain(column: dict[str, Any]) -> bool:
    return column["datatype"] in _TYPES and not column.get("subtype")


def _has_objects(header: dict[str, Any]) -> bool:
    mixins = dict(header.get("meta") or {}).get("__serialized_columns__", {})
    return any(info.get("__class__") not in _PLAIN_MIXINS for info in mixins.values() if isinstance(info, dict))


def _field(column: dict[str, Any]) -> pa.Field:
    meta = column.get("meta")
    unit = column.get("unit")
    return make_field(
        column["name"],
        _TYPES[column["datatype"]],
        unit=None if unit is None else str(unit),
        ucd=dict(meta).get("ucd") if meta else None,
        description=column.get("description"),
    )


def _read_whole(path: Path) -> TableSource:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            return MemorySource(path, from_astropy(Table.read(path, format="ascii.ecsv")))
    except (*BROKEN, InconsistentTableError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"not a whole ECSV file: {error}", place=path) from error
