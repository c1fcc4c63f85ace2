"""IPAC tables: fixed-width columns under a header between pipes.

Memory is bounded by a few blocks of `BLOCK_BYTES`: each block of lines becomes a byte matrix, of which columns are
slices; no Python loop runs over rows or cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import make_field
from xmatch_hats.tables.source import TableSource, check_names
from xmatch_hats.tables.streams import broken_file, open_stream
from xmatch_hats.tables.text import clean

BLOCK_BYTES = 8 << 20
_SPACE, _TAB = np.uint8(32), np.uint8(9)

# The format allows any beginning of a type's name. Integers are read wide: archives call 64-bit counters "int" as well.
_TYPES = (
    ("char", pa.string()), ("date", pa.string()), ("double", pa.float64()), ("float", pa.float64()),
    ("real", pa.float64()), ("integer", pa.int64()), ("long", pa.int64()), ("short", pa.int64()),
)  # fmt: skip
_SHORT_TYPES = {"d": pa.float64(), "": pa.string()}


@dataclass(frozen=True)
class _Header:
    pipes: tuple[int, ...]
    """Positions of the pipes in a line."""
    fields: tuple[pa.Field, ...]
    nulls: tuple[str, ...]
    """What stands for a missing value in each column, besides blanks."""
    lines: int
    """Lines before the first row."""
    fixed_length: bool
    """Whether the file promises that all its rows are equally long."""


class IpacSource(TableSource):
    """An IPAC table."""

    def __init__(self, path: Path) -> None:
        with broken_file(path, "IPAC table"), open_stream(path) as stream:
            self._header = _read_header(stream, path)
        names = [field.name for field in self._header.fields]
        check_names(names, path)
        super().__init__(path, pa.schema(self._header.fields))

    def _iterate(self, schema: pa.Schema, _batch_rows: int, /) -> Iterator[pa.RecordBatch]:
        wanted = [self.schema.get_field_index(name) for name in schema.names]
        first_line = self._header.lines + 1
        with open_stream(self.path) as stream:
            for _ in range(self._header.lines):
                stream.readline()
            while block := self._next_block(stream):
                rows = _Rows(np.frombuffer(block, dtype=np.uint8), first_line)
                first_line += block.count(b"\n")
                if len(rows.starts):
                    if self._header.fixed_length:
                        rows.check_length(self.path)
                    arrays = [self._column(rows, index) for index in wanted]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _next_block(self, stream: IO[bytes]) -> bytes:
        with broken_file(self.path, "IPAC table"):
            block = stream.read(BLOCK_BYTES)
            return block if not block or block.endswith(b"\n") else block + stream.readline()

    def _column(self, rows: _Rows, index: int) -> pa.Array:
        header, field = self._header, self._header.fields[index]
        left, right = header.pipes[index], header.pipes[index + 1]
        last = index == len(header.fields) - 1
        cells = rows.cells(left, max(right + 1, int(rows.lengths.max())) if last else right + 1)
        self._settle_pipe(rows, left, cells, 0, index)
        if not last:
            self._settle_pipe(rows, right, cells, -1, index + 1)
        try:
            text = _to_text(cells)
            if header.nulls[index]:
                text = pc.if_else(pc.equal(text, header.nulls[index]), pa.scalar(None, pa.string()), text)
            return text if pa.types.is_string(field.type) else pc.cast(text, field.type)
        except pa.ArrowInvalid as error:
            raise self._locate(rows, cells, field, header.nulls[index], error) from error

    def _settle_pipe(self, rows: _Rows, position: int, cells: NDArray[np.uint8], edge: int, right: int) -> None:
        """Give what stands under a pipe to the column whose value it touches, by blanking it in the other."""
        if not (cells[:, edge] != _SPACE).any() or right == 0:
            return
        around = rows.cells(position - 1, position + 2) != _SPACE
        filled = around[:, 1]
        if (both := np.flatnonzero(filled & around[:, 0] & around[:, 2])).size:
            names = [field.name for field in self._header.fields[right - 1 : right + 1]]
            raise TableError(
                f"the values of columns {' and '.join(names)} run into each other",
                place=f"{self.path}, line {rows.line(both[0])}",
                hint="widen the columns, or write the table in another format",
            )
        belongs_left = filled & around[:, 0]
        cells[belongs_left if edge == 0 else filled & ~belongs_left, edge] = _SPACE

    def _locate(
        self, rows: _Rows, cells: NDArray[np.uint8], field: pa.Field, null: str, error: pa.ArrowInvalid
    ) -> TableError:
        for row, cell in enumerate(cells):
            value = cell.tobytes().decode("utf-8", "replace").strip()
            try:
                if value and value != null:
                    pc.cast(clean(pa.array([value])), field.type)
                cell.tobytes().decode("utf-8")
            except (pa.ArrowInvalid, UnicodeDecodeError):
                return TableError(
                    f"column {field.name}: {value!r} is not {field.type}",
                    place=f"{self.path}, line {rows.line(row)}",
                    hint="correct or drop that line",
                    value=value,
                )
        return TableError(f"column {field.name}: {error}", place=self.path)


class _Rows:
    """The lines of a block, blank ones left out, as offsets into its bytes."""

    def __init__(self, data: NDArray[np.uint8], first_line: int) -> None:
        ends = np.flatnonzero(data == ord("\n"))
        if not len(ends) or ends[-1] != len(data) - 1:
            ends = np.append(ends, len(data))
        starts = np.concatenate(([0], ends[:-1] + 1))
        # Files that passed through Windows end their lines with two characters.
        ends = ends - ((ends > starts) & (data[np.maximum(ends - 1, 0)] == ord("\r")))
        filled = np.maximum.reduceat(data, starts) > _SPACE
        if (data == _TAB).any():
            data = np.where(data == _TAB, _SPACE, data)
        self.data = data
        self.starts, self.lengths = starts[filled], (ends - starts)[filled]
        self.matrix = self._as_matrix()
        self._lines = np.flatnonzero(filled) + first_line

    def _as_matrix(self) -> NDArray[np.uint8] | None:
        """View the lines as a matrix where they are equally long and nothing lies between them, as nearly always."""
        rows = len(self.starts)
        if not rows or (self.lengths != self.lengths[0]).any():
            return None
        step = int(self.starts[1] - self.starts[0]) if rows > 1 else len(self.data)
        if self.starts[0] != 0 or (np.diff(self.starts) != step).any() or len(self.data) < rows * step:
            return None
        return self.data[: rows * step].reshape(rows, step)[:, : int(self.lengths[0])]

    def line(self, row: int | np.int64) -> int:
        """Line number, from one, of a row of the block."""
        return int(self._lines[row])

    def cells(self, begin: int, end: int) -> NDArray[np.uint8]:
        """Bytes of the lines between two positions, as a matrix; blanks beyond a line's end."""
        if self.matrix is not None and end <= self.matrix.shape[1]:
            return self.matrix[:, begin:end].copy()
        width = np.arange(begin, end)
        at = self.starts[:, None] + width
        cells = self.data[np.minimum(at, len(self.data) - 1)]
        cells[width >= self.lengths[:, None]] = _SPACE
        return np.ascontiguousarray(cells)

    def check_length(self, path: Path) -> None:
        """Refuse rows of unequal length: the file has promised otherwise, so one of them is cut short."""
        odd = np.flatnonzero(self.lengths != self.lengths[0])
        if odd.size:
            raise TableError(
                f"{self.lengths[odd[0]]} characters, where the rows before have {self.lengths[0]}",
                place=f"{path}, line {self.line(odd[0])}",
                hint="the file may be cut short: fetch it again",
            )


def _to_text(cells: NDArray[np.uint8]) -> pa.Array:
    """Strings of a byte matrix, blanks around them removed, null where nothing is left."""
    rows, width = cells.shape
    fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), rows, [None, pa.py_buffer(cells)])
    return clean_text(pc.cast(pc.cast(fixed, pa.binary()), pa.string()))


def clean_text(text: pa.Array) -> pa.Array:
    """Strings without blanks around them; what is empty then is null."""
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _read_header(stream: IO[bytes], path: Path) -> _Header:
    lines, header, fixed = 0, [], False
    while line := stream.readline(1 << 20):
        if line.startswith(b"\\"):
            fixed = fixed or line.replace(b" ", b"").lower().startswith(b"\\fixlen=t")
        elif line.startswith(b"|"):
            header.append(line.decode("utf-8").rstrip())
        elif line.strip():
            break
        lines += 1
    if not header:
        raise TableError("has no header line between pipes", place=path, hint="is it an IPAC table?")
    pipes = tuple(i for i, character in enumerate(header[0]) if character == "|")
    if len(pipes) < 2:
        raise TableError("its header has no columns between pipes", place=path)
    words = [_split(line, pipes) for line in header[:4]] + [[""] * (len(pipes) - 1)] * (4 - min(len(header), 4))
    fields = [
        make_field(name, _type_of(word, path, name), unit="" if unit == "null" else unit)
        for name, word, unit in zip(*words[:3], strict=True)
    ]
    return _Header(pipes, tuple(fields), tuple(words[3]), lines, fixed)


def _split(line: str, pipes: tuple[int, ...]) -> list[str]:
    return [line[a + 1 : b].strip() for a, b in pairwise(pipes)]


def _type_of(word: str, path: Path, name: str) -> pa.DataType:
    word = word.lower().lstrip("-")
    if word in _SHORT_TYPES:
        return _SHORT_TYPES[word]
    for full, type_ in _TYPES:
        if full.startswith(word):
            return type_
    raise TableError(
        f"column {name} has the unknown type {word!r}",
        place=path,
        hint="known are: int, long, float, real, double, char",
    )
