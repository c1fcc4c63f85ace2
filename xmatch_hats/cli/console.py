"""What verbs show on a terminal; where nobody looks, they are quiet, and their output is data."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.errors import UsageError
from xmatch_hats.whole import is_same_file

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ROWS_SHOWN = 100
"""On a terminal; files and pipes get all rows."""


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner on the terminal while something runs; nothing where the error output is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def note(text: str) -> None:
    """Tell something beside the output."""
    typer.echo(text, err=True)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON; what JSON has no number for, NaN and infinities, is null."""
    typer.echo(json.dumps(_finite(value), default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def check_output(path: Path, overwrite: bool, source: Path | None = None) -> None:
    """Refuse an output that cannot be written, before hours of work rather than after.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Whether it may replace a file.
    source : Path, optional
        The table that it is made from, which it may never replace.

    Raises
    ------
    UsageError
        The file exists and may not be replaced, is the table that it is made from, or is a folder; or its folder does
        not exist, cannot be written to, or is in a catalogue.
    TableError
        Its suffix tells no format that is written.
    """
    from xmatch_hats.tables.formats import format_to_write

    if path.is_dir():
        raise UsageError("the output is a folder", place=path, hint="give the name of a file")
    if source is not None and is_same_file(path, source):
        raise UsageError("the output would replace its input", place=path, hint="choose another --out")
    if path.exists() and not overwrite:
        raise UsageError("the output exists", place=path, hint="choose another name, or give --overwrite")
    if not path.absolute().parent.is_dir():
        raise UsageError("the folder of the output does not exist", place=path.parent, hint="make it first")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError("the folder of the output cannot be written to", place=path.parent)
    refuse_inside_catalog(path)
    format_to_write(path)


def show_rows(table: pa.Table, *, first: Sequence[str] = ()) -> None:
    """Print the rows of a table: as CSV into a pipe or file, readable on a terminal.

    Parameters
    ----------
    table : pyarrow.Table
    first : sequence of str
        Columns that a terminal shows before the others, as far as its width allows.
    """
    if sys.stdout.isatty():
        _show_readable(table, [name for name in first if name in table.column_names])
        return
    from xmatch_hats.tables.write import write_csv_to

    write_csv_to(table, typer.get_binary_stream("stdout"))


def _show_readable(table: pa.Table, first: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    names = list(dict.fromkeys([*first, *table.column_names]))
    texts = {name: [_text(value) for value in table[name].slice(0, MAX_ROWS_SHOWN).to_pylist()] for name in names}
    shown: list[str] = []
    width = 1
    for name in names:
        width += max(len(text) for text in [name, *texts[name]]) + 3
        if width > console.width and shown:
            break
        shown.append(name)
    view = Table()
    for name in shown:
        view.add_column(name, no_wrap=True, justify="right" if _is_number(table.schema.field(name).type) else "left")
    for cells in zip(*(texts[name] for name in shown), strict=True):
        view.add_row(*cells)
    console.print(view)
    hidden = []
    if table.num_rows > MAX_ROWS_SHOWN:
        hidden.append(f"{table.num_rows - MAX_ROWS_SHOWN:,} more rows")
    if len(names) > len(shown):
        hidden.append(f"{len(names) - len(shown)} more columns")
    if hidden:
        console.print(f"and {' and '.join(hidden)}: choose with --columns, or write all with --out TABLE")


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.11g}" if isinstance(value, float) else str(value)
