"""CSV and other delimited text, headerless bulk files included, as a stream.

Memory is bounded by a few blocks of `BLOCK_BYTES`. Types that are not given are learnt in a first pass over the whole
file: a column that looks like integers in the first block may hold a decimal in the last.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from xmatch_hats.errors import TableError
from xmatch_hats.tables.source import TableSource, check_names
from xmatch_hats.tables.streams import BROKEN, broken_file, open_stream, read_head
from xmatch_hats.tables.text import NULL_WORDS, TypeGuess, convert

logger = logging.getLogger(__name__)

BLOCK_BYTES = 8 << 20
"""Bytes parsed at a time; also the longest row that can be read."""
_HEAD_BYTES = 1 << 20
_TRAILING = "\x00trailing"
"""Stands for the empty field that a delimiter at the end of each line makes."""
_DELIMITERS = ",\t;|"
_RULE = re.compile(r"-{2,}[-\s;,|]*")


@dataclass(frozen=True)
class Layout:
    """Where the values of a delimited file begin and what its columns are called."""

    delimiter: str
    names: tuple[str, ...]
    skip_lines: int
    """Lines before the first row of values."""
    empty: bool
    """Whether no row of values follows."""
    trailing: bool = False
    """Whether each line ends with a delimiter."""
    null_words: tuple[str, ...] = NULL_WORDS
    """Cells that mean "missing" where they are not quoted."""
    quoted_nulls: bool = False
    """Whether they mean it where they are quoted, too, as in ECSV."""

    @property
    def read_names(self) -> list[str]:
        """Names for every field of a line."""
        return [*self.names, _TRAILING] if self.trailing else list(self.names)


class DelimitedSource(TableSource):
    """A delimited text file.

    Parameters
    ----------
    path : Path
    layout : Layout
    column_types : mapping of str to pyarrow.DataType, optional
        Types of columns by name; the others are learnt from the file.
    trusted : bool, optional
        Whether every type is given and every value is a plain rendering of it, so that no first pass is needed.
    fields : mapping of str to pyarrow.Field, optional
        Fields that a header gave, with metadata; types come from `column_types`.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        column_types: Mapping[str, pa.DataType] | None = None,
        *,
        trusted: bool = False,
        fields: Mapping[str, pa.Field] | None = None,
    ) -> None:
        check_names(layout.names, path)
        self._layout = layout
        given = {name: type_ for name, type_ in (column_types or {}).items() if name in layout.names}
        guesses = {name: TypeGuess(given.get(name), fixed=name in given) for name in layout.names}
        rows = 0 if layout.empty else None
        if not layout.empty and not (trusted and len(given) == len(layout.names)):
            rows = _learn(path, layout, guesses)
        self._direct = {name: guess.direct for name, guess in guesses.items()}
        types = {name: guess.type or pa.string() for name, guess in guesses.items()}
        known = fields or {}
        schema = pa.schema(
            [known.get(name, pa.field(name, types[name])).with_type(types[name]) for name in layout.names]
        )
        super().__init__(path, schema, rows)

    def _iterate(self, schema: pa.Schema, _batch_rows: int, /) -> Iterator[pa.RecordBatch]:
        if self._layout.empty:
            return
        read_types = {f.name: f.type if self._direct[f.name] else pa.string() for f in schema}
        try:
            for batch in _open(self.path, self._layout, read_types):
                arrays = [convert(array, f.type) if array.type != f.type else array
                          for array, f in zip(batch.columns, schema, strict=True)]  # fmt: skip
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except BROKEN as error:
            raise _locate(self.path, self._layout, {f.name: f.type for f in schema}, error) from error


def _open(path: Path, layout: Layout, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    with open_stream(path) as stream:
        yield from pacsv.open_csv(
            stream,
            read_options=pacsv.ReadOptions(
                column_names=layout.read_names, skip_rows=layout.skip_lines, block_size=BLOCK_BYTES
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=layout.delimiter,
                newlines_in_values=not layout.trailing,
                # In a table of one column an empty line is a missing value.
                ignore_empty_lines=len(layout.read_names) > 1,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict(types),
                include_columns=list(types),
                null_values=list(layout.null_words),
                strings_can_be_null=True,
                quoted_strings_can_be_null=layout.quoted_nulls,
            ),
        )


def _learn(path: Path, layout: Layout, guesses: Mapping[str, TypeGuess]) -> int:
    """Run over the file once, and return its number of rows."""
    text = dict.fromkeys(layout.names, pa.string())
    rows = 0
    try:
        for batch in _open(path, layout, text):
            rows += batch.num_rows
            for guess, array in zip(guesses.values(), batch.columns, strict=True):
                guess.update(array)
    except BROKEN as error:
        raise _locate(path, layout, text, error) from error
    return rows


def _locate(path: Path, layout: Layout, types: Mapping[str, pa.DataType], error: BaseException) -> TableError:
    """Find the line that the fast reader stumbled over; it knows only what was wrong."""
    try:
        with open_stream(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
            for _ in range(layout.skip_lines):
                text.readline()
            reader = csv.reader(text, delimiter=layout.delimiter, strict=True)
            for row in reader:
                if row and (fault := _fault_of(row, layout, types)):
                    line = layout.skip_lines + reader.line_num
                    return TableError(fault, place=f"{path}, line {line}", hint="correct or drop that line", value=row)
    except UnicodeDecodeError:
        return TableError("not UTF-8 text", place=path, hint="convert it, for instance with iconv -t UTF-8")
    except (csv.Error, *BROKEN) as second:
        return TableError(f"cannot be read: {second or error}", place=path)
    return TableError(f"cannot be read: {error}", place=path)


def _fault_of(row: list[str], layout: Layout, types: Mapping[str, pa.DataType]) -> str:
    names = layout.read_names
    if len(row) != len(names):
        return f"{len(row)} fields where the header has {len(names)}"
    for name, cell in zip(names, row, strict=True):
        if name in types:
            try:
                convert(pa.array([cell or None], pa.string()), types[name])
            except pa.ArrowInvalid:
                return f"column {name}: {cell!r} is not {types[name]}"
    return ""


def csv_layout(path: Path) -> Layout:
    """Find delimiter and header of a CSV file.

    Comment lines that begin with ``#`` may stand in front; a single one with as many fields as the next line is the
    header.

    Raises
    ------
    TableError
        The file is empty, binary, or not UTF-8.
    """
    lines = _head_lines(path)
    first = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if first is None:
        raise TableError("has no header line", place=path, hint="the first line must name the columns")
    delimiter = max(_DELIMITERS, key=lines[first].count)
    header_at = first
    if first == 1 and lines[0].startswith("#") and 1 < _fields(lines[0], delimiter) == _fields(lines[1], delimiter):
        lines[0] = lines[0].lstrip("# ")
        header_at = 0
    reader = csv.reader(iter(lines[header_at:]), delimiter=delimiter)
    # A quoted name may span lines.
    names = next(reader)
    begin = header_at + reader.line_num
    if len(lines) > begin + 1 and _RULE.fullmatch(lines[begin + 1]):
        # VizieR's tables have a line of units and a ruled one below the names.
        begin += 2
    names = [name.strip() or f"col{i}" for i, name in enumerate(names, start=1)]
    # In a table of one column an empty line is a row.
    empty = not any(line.strip() or len(names) == 1 for line in lines[begin:])
    return Layout(delimiter, tuple(names), begin, empty)


def bulk_layout(path: Path, names: Sequence[str], delimiter: str = "|") -> Layout:
    """Layout of a headerless file whose columns are known beforehand.

    Raises
    ------
    TableError
        The first line has another number of fields.
    """
    lines = _head_lines(path)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return Layout(delimiter, tuple(names), 0, empty=True)
    found = first.rstrip("\r\n").split(delimiter)
    trailing = len(found) == len(names) + 1 and not found[-1].strip()
    if len(found) - trailing != len(names):
        raise TableError(
            f"{len(found)} fields where {len(names)} are expected", place=f"{path}, line 1", value=len(found)
        )
    return Layout(delimiter, tuple(names), 0, empty=False, trailing=trailing)


def _fields(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter)))


def _head_lines(path: Path) -> list[str]:
    head = read_head(path, _HEAD_BYTES)
    if b"\x00" in head:
        raise TableError("is binary, not text", place=path)
    try:
        # The last bytes may be half a character.
        text = head.decode("utf-8-sig", "strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError as error:
        raise TableError(
            f"not UTF-8 text: {error.reason}", place=path, hint="convert it, for instance with iconv -t UTF-8"
        ) from error
    return split_lines(text)


def split_lines(text: str) -> list[str]:
    """Lines as CSV knows them, each with a line feed: `str.splitlines` would also break at Unicode's separators."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [f"{line}\n" for line in (lines if lines[-1] else lines[:-1])]


def open_csv(path: Path, column_types: Mapping[str, pa.DataType] | None = None) -> DelimitedSource:
    """Open a CSV file with a header line."""
    with broken_file(path, "CSV"):
        return DelimitedSource(path, csv_layout(path), column_types)


def open_bulk(path: Path, names: Sequence[str], column_types: Mapping[str, pa.DataType] | None) -> DelimitedSource:
    """Open a headerless pipe-separated file."""
    return DelimitedSource(path, bulk_layout(path, names), column_types, trusted=True)
