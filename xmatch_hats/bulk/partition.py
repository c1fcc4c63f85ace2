"""The rows of one partition, read by column and row group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class PartitionFile:
    """One partition, open for reading; a context manager.

    Parameters
    ----------
    path : Path
        Its file, or the folder of its files.
    schema : pyarrow.Schema
        Types that columns are read as.

    Raises
    ------
    PartitionReadError
        From here and from every method: the partition cannot be read.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
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
        found = self.read(names, groups)
        return found.combine_chunks().take(pa.array(rows - self._starts[place] + moved[place]))

    def _open(self) -> None:
        self._files = [pq.ParquetFile(file, pre_buffer=False) for file in _files(self._path)]

    def _is_near(self, file: pq.ParquetFile, number: int, ranges: Integers) -> bool:
        leaves = [file.schema.column(place).path for place in range(len(file.schema))]
        known = file.metadata.row_group(number).column(leaves.index(HEALPIX_COLUMN)).statistics
        if known is None or not known.has_min_max:
            return True
        low, high = np.array([known.min], dtype=np.int64), np.array([known.max + 1], dtype=np.int64)
        return bool(overlap_ranges(low, high, ranges)[0])

    def _read(self, names: list[str], groups: Integers | None) -> pa.Table:
        schema = pa.schema([self._schema.field(name) for name in names])
        wanted = range(len(self._groups)) if groups is None else groups.tolist()
        parts = []
        for file in self._files:
            numbers = [self._groups[group][1] for group in wanted if self._groups[group][0] is file]
            # One thread: partitions are read side by side already.
            part = file.read_row_groups(numbers, columns=names, use_threads=False)
            columns = [
                column if column.type == field.type else column.cast(field.type)
                for field, column in ((field, part.column(field.name)) for field in schema)
            ]
            if HEALPIX_COLUMN in names and columns[names.index(HEALPIX_COLUMN)].null_count:
                raise ValueError(f"rows without a {HEALPIX_COLUMN}, by which rows are found")
            parts.append(pa.table(columns, schema=schema) if names else part)
        return pa.concat_tables(parts)

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


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] not in "._")
    if not files:
        raise FileNotFoundError("its folder holds no file")
    return files
