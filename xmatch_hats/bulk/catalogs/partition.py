"""The rows of one partition, read by column and row group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.healpix import overlap_ranges

Integers = NDArray[np.int64]
Read = TypeVar("Read")

TEXT_BYTES = 256
"""Taken for the length of a text of which nothing is known."""
BUFFER_BYTES = 1 << 20
"""Of each column, where a row group is read bit by bit."""


class PartitionFile:
    """One partition, open for reading; a context manager.

    Parameters
    ----------
    path : Path
        Its file, or the folder of its files.
    schema : pyarrow.Schema
        Types that columns are read as.
    most_bytes : int, optional
        Rows decoded at once by `stream` and `take` take no more, about.

    Raises
    ------
    PartitionReadError
        From here and from every method: the partition cannot be read.
    """

    def __init__(self, path: Path, schema: pa.Schema, most_bytes: int = 1 << 30) -> None:
        self._path = path
        self._schema = schema
        self._most_bytes = most_bytes
        self._files: list[pq.ParquetFile] = []
        self._guard(self._open)
        self._groups = [(file, number) for file in self._files for number in range(file.num_row_groups)]
        rows = [file.metadata.row_group(number).num_rows for file, number in self._groups]
        self._starts = np.concatenate(([0], np.cumsum(rows, dtype=np.int64))).astype(np.int64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def groups_near(self, ranges: Integers) -> Integers:
        """Numbers of the row groups that may hold rows in ranges of spatial indexes, shape (m, 2)."""
        return self._guard(lambda: np.flatnonzero([self._is_near(*group, ranges) for group in self._groups]))

    def rows_of(self, groups: Integers) -> Integers:
        """Numbers of all rows of some row groups, as `read` gives them."""
        spans = [np.arange(self._starts[group], self._starts[group + 1]) for group in groups.tolist()]
        return np.concatenate(spans) if spans else np.empty(0, np.int64)

    def read(self, names: Sequence[str], groups: Integers | None = None) -> pa.Table:
        """Read columns, of all row groups or of some in ascending order."""
        return self._guard(lambda: self._read(list(names), groups))

    def stream(self, names: Sequence[str], groups: Integers | None = None) -> Iterator[pa.Table]:
        """Read the same, bit by bit."""
        if self._bytes_at_most(names) <= self._most_bytes:
            yield self.read(names, groups)
            return
        if groups is None:
            groups = np.arange(len(self._groups))
        sizes = [self._group_bytes(group, names) for group in groups.tolist()]
        together: list[int] = []
        held = 0.0
        for group, size in zip(groups.tolist(), sizes, strict=True):
            if together and held + size > self._most_bytes:
                yield self.read(names, np.array(together))
                together, held = [], 0.0
            if size > self._most_bytes:
                yield from self._batches(group, names, size)
            else:
                together.append(group)
                held += size
        if together:
            yield self.read(names, np.array(together))

    def take(self, rows: Integers, names: Sequence[str]) -> pa.Table:
        """Read columns of some rows, in the order they are given in; of their row groups only."""
        place = np.searchsorted(self._starts, rows, side="right") - 1
        hit = np.zeros(len(self._groups), dtype=bool)
        hit[place] = True
        groups = np.flatnonzero(hit)
        lengths = np.diff(self._starts)[groups]
        # Where each row group that is read begins among what is read.
        moved = np.zeros(len(self._groups), dtype=np.int64)
        moved[groups] = np.cumsum(lengths) - lengths
        rows = rows - self._starts[place] + moved[place]
        order = None if bool((rows[1:] >= rows[:-1]).all()) else np.argsort(rows, kind="stable")
        ascending = rows if order is None else rows[order]
        found: list[pa.Table] = []
        begin = 0
        for part in self.stream(names, groups):
            first, last = np.searchsorted(ascending, (begin, begin + len(part)))
            if last > first:
                # Of many chunks each column's would be put together one by one, and twice for text.
                found.append(part.combine_chunks().take(pa.array(ascending[first:last] - begin)))
            begin += len(part)
        table = pa.concat_tables(found or [pa.schema([self._schema.field(name) for name in names]).empty_table()])
        if order is None:
            return table
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return table.combine_chunks().take(pa.array(back))

    def row_bytes(self, names: Sequence[str]) -> float:
        """About what a row of some columns takes when it is decoded."""
        size = sum(self._group_bytes(group, names) for group in range(len(self._groups)))
        return size / max(len(self), 1)

    def row_bytes_at_most(self, names: Sequence[str]) -> float:
        """The same or more, without looking at every column of every row group where that is little."""
        bound = self._bytes_at_most(names)
        return bound / max(len(self), 1) if bound <= self._most_bytes else self.row_bytes(names)

    def _open(self) -> None:
        self._files = [pq.ParquetFile(file, pre_buffer=False) for file in _files(self._path)]

    def _bytes_at_most(self, names: Sequence[str]) -> float:
        """More than all rows take when they are decoded; infinity where only their columns can tell."""
        if any(pa.types.is_nested(self._schema.field(name).type) for name in names):
            return float("inf")
        encoded = sum(file.metadata.row_group(number).total_byte_size for file, number in self._groups)
        return max(len(self) * len(names) * TEXT_BYTES, 2 * encoded)

    def _group_bytes(self, group: int, names: Sequence[str]) -> float:
        """About what a row group takes when it is decoded; too much rather than too little."""
        file, number = self._groups[group]
        metadata = file.metadata.row_group(number)
        wanted = set(names)
        return sum(
            _decoded_bytes(column)
            for column in map(metadata.column, range(metadata.num_columns))
            if column.path_in_schema.split(".", 1)[0] in wanted
        )

    def _batches(self, group: int, names: Sequence[str], size: float) -> Iterator[pa.Table]:
        """Read one row group bit by bit."""
        file, number = self._groups[group]
        rows = file.metadata.row_group(number).num_rows
        most = max(1024, int(rows * self._most_bytes / size))
        path = _files(self._path)[self._files.index(file)]
        with self._guard(lambda: pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES)) as slowly:
            batches = slowly.iter_batches(most, row_groups=[number], columns=list(names), use_threads=False)
            while (batch := self._guard(lambda: next(batches, None))) is not None:
                yield self._guard(partial(self._conform, pa.table(batch), list(names)))

    def _is_near(self, file: pq.ParquetFile, number: int, ranges: Integers) -> bool:
        leaves = [file.schema.column(place).path for place in range(len(file.schema))]
        known = file.metadata.row_group(number).column(leaves.index(HEALPIX_COLUMN)).statistics
        if known is None or not known.has_min_max:
            return True
        low, high = np.array([known.min], dtype=np.int64), np.array([known.max + 1], dtype=np.int64)
        return bool(overlap_ranges(low, high, ranges)[0])

    def _read(self, names: list[str], groups: Integers | None) -> pa.Table:
        wanted = range(len(self._groups)) if groups is None else groups.tolist()
        parts = []
        for file in self._files:
            numbers = [self._groups[group][1] for group in wanted if self._groups[group][0] is file]
            # One thread: partitions are read side by side already.
            parts.append(self._conform(file.read_row_groups(numbers, columns=names, use_threads=False), names))
        return pa.concat_tables(parts)

    def _conform(self, part: pa.Table, names: list[str]) -> pa.Table:
        """Give what was read the types that were asked for."""
        if not names:
            return part
        schema = pa.schema([self._schema.field(name) for name in names])
        columns = [
            column if column.type == field.type else column.cast(field.type)
            for field, column in ((field, part.column(field.name)) for field in schema)
        ]
        if HEALPIX_COLUMN in names and columns[names.index(HEALPIX_COLUMN)].null_count:
            raise ValueError(f"rows without a {HEALPIX_COLUMN}, by which rows are found")
        return pa.table(columns, schema=schema)

    def _guard(self, read: Callable[[], Read]) -> Read:
        try:
            return read()
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            first_line = next(iter(str(error).splitlines()), type(error).__name__)
            raise PartitionReadError(
                f"cannot be read: {first_line}",
                place=self._path,
                hint="run `xmatch-hats catalog verify` on the catalogue",
            ) from error


_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}


def _decoded_bytes(column: pq.ColumnChunkMetaData) -> float:
    if column.physical_type in _WIDTHS:
        # Values of lists come with offsets.
        return float(column.num_values * (_WIDTHS[column.physical_type] + 1 + 4 * ("." in column.path_in_schema)))
    known = column.statistics
    length = TEXT_BYTES
    if known is not None and known.has_min_max and isinstance(known.min, str | bytes):
        length = 16 + 2 * max(len(known.min), len(known.max))
    # What is not in a dictionary is there in full length.
    return float(max(column.num_values * length, 2 * column.total_uncompressed_size))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] not in "._")
    if not files:
        raise FileNotFoundError("its folder holds no file")
    return files
