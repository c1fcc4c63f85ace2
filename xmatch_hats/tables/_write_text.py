"""CSV and ECSV, batch by batch."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from xmatch_hats.errors import TableError
from xmatch_hats.tables.formats import suffix_is
from xmatch_hats.tables.metadata import text_of
from xmatch_hats.tables.plain import plain_table
from xmatch_hats.tables.source import BATCH_ROWS
from xmatch_hats.tables.text import NULL_WORDS

_MUST_QUOTE = r'[",\t\r\n]|^\s|\s$|^#'
_QUOTED_WORDS = pa.array(NULL_WORDS)


def write_csv(table: pa.Table, file: IO[bytes], path: Path) -> None:
    """Write CSV: a header line, empty cells where missing; tabs between the cells of a ``.tsv``."""
    table = _plain(table, path)
    delimiter = "\t" if suffix_is(path, ".tsv") else ","
    file.write(_names_line(table.schema.names, delimiter))
    _write_rows(table, file, delimiter)


def write_ecsv(table: pa.Table, file: IO[bytes], path: Path) -> None:
    """Write ECSV 1.0, comma-separated; UCDs go into a column's ``meta``."""
    from astropy.io.misc import yaml

    table = _plain(table, path)
    columns = [_ecsv_column(field) for field in table.schema]
    header = yaml.dump(
        {"delimiter": ",", "datatype": columns, "schema": "astropy-2.0"},
        sort_keys=False, allow_unicode=True, default_flow_style=None, width=100_000,
    )  # fmt: skip
    lines = ["%ECSV 1.0", "---", *header.splitlines()]
    file.write("".join(f"# {line}\n" for line in lines).encode())
    file.write(_names_line(table.schema.names))
    booleans = [f.name for f in table.schema if pa.types.is_boolean(f.type)]
    for name in booleans:
        words = pc.if_else(table[name], "True", "False")
        table = table.set_column(table.schema.get_field_index(name), name, words)
    if table.num_columns == 1:
        # A missing value alone on its line would be an empty line, which readers skip.
        words = pc.fill_null(pc.cast(table.column(0), pa.string()), "")
        table = pa.table([words], names=table.schema.names)
    _write_rows(table, file)


def _plain(table: pa.Table, path: Path) -> pa.Table:
    table = plain_table(table, path)
    for field in table.schema:
        if pa.types.is_fixed_size_list(field.type):
            raise TableError(
                f"column {field.name} holds arrays, which text has no place for",
                place=path,
                hint="drop the column, or write .fits or .parquet",
                value=field.name,
            )
    return table


def _ecsv_column(field: pa.Field) -> dict[str, Any]:
    column: dict[str, Any] = {"name": field.name}
    if unit := text_of(field, "unit"):
        column["unit"] = unit
    column["datatype"] = {"double": "float64", "float": "float32"}.get(str(field.type), str(field.type))
    if description := text_of(field, "description"):
        column["description"] = description
    if ucd := text_of(field, "ucd"):
        column["meta"] = {"ucd": ucd}
    return column


def _names_line(names: list[str], delimiter: str = ",") -> bytes:
    line = io.StringIO()
    # A first name that begins like a comment would be taken for one.
    like_comment = bool(names) and names[0].startswith("#")
    csv.writer(
        line,
        delimiter=delimiter,
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if like_comment else csv.QUOTE_MINIMAL,
    ).writerow(names)
    return line.getvalue().encode()


def _write_rows(table: pa.Table, file: IO[bytes], delimiter: str = ",") -> None:
    for batch in _batches(table):
        # Arrow quotes every string or none; plain ones, which most are, stay readable without quotes.
        style = "needed" if _needs_quotes(batch) else "none"
        options = pacsv.WriteOptions(
            include_header=False, quoting_style=style, delimiter=delimiter, batch_size=BATCH_ROWS
        )
        pacsv.write_csv(batch, file, options)


def _batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from (batch for batch in table.to_batches(max_chunksize=BATCH_ROWS) if batch.num_rows)


def _needs_quotes(batch: pa.RecordBatch) -> bool:
    for column in batch.columns:
        if pa.types.is_string(column.type):
            odd = pc.or_(pc.match_substring_regex(column, _MUST_QUOTE), pc.is_in(column, _QUOTED_WORDS))
            if pc.any(odd).as_py():
                return True
    return False
