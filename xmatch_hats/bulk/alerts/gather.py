"""Rows of an archive's slices, put together in their order, and told apart from those that were there before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.convert import COMPRESSION
from xmatch_hats.errors import XmatchError
from xmatch_hats.whole import unwritable

FILE_ROWS = 1_048_576
GROUP_ROWS = 65_536
"""Of a row group; that many rows are held in memory, and those of one slice."""


def repeated(candids: Sequence[pa.ChunkedArray]) -> NDArray[np.bool_]:
    """Tell which alerts have a number that an earlier one has.

    Parameters
    ----------
    candids : sequence of pyarrow.ChunkedArray of int64
        In the order that decides which is earlier. Those without a number are nobody's repetition.

    Returns
    -------
    ndarray of bool, one for each
    """
    parts = [part for part in candids if len(part)]
    if not parts:
        return np.zeros(0, dtype=bool)
    known = np.concatenate([part.is_valid().to_numpy() for part in parts])
    numbers = np.concatenate([part.fill_null(0).to_numpy() for part in parts])
    places = np.flatnonzero(known)
    _, firsts = np.unique(numbers[places], return_index=True)
    again = known
    again[places[firsts]] = False
    return again


def read_rows(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a parquet file of ours, whatever its folders are called.

    Raises
    ------
    XmatchError
        It cannot be read.
    """
    try:
        # Names of folders above are no columns here.
        return pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise XmatchError(f"cannot be read: {first_line}", place=path) from error


def filtered(paths: Sequence[Path], drop: NDArray[np.bool_] | None) -> Iterator[pa.Table]:
    """Tables of files, without the rows to drop, which are counted through all of them."""
    first = 0
    for path in paths:
        table = read_rows(path)
        rows = slice(first, first + table.num_rows)
        first = rows.stop
        yield table if drop is None or not drop[rows].any() else table.filter(pa.array(~drop[rows]))


class RowFiles:
    """Writes rows into files of even size: the same rows, in whatever pieces, give the same bytes.

    Parameters
    ----------
    folder : Path
        Must not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.paths: list[Path] = []
        self.rows = 0
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._in_file = 0
        self._waiting: list[pa.Table] = []
        self._held = 0

    def add(self, table: pa.Table) -> None:
        """Append rows.

        Raises
        ------
        OutputError
            They cannot be written.
        """
        self._waiting.append(table)
        self._held += table.num_rows
        while self._held >= GROUP_ROWS:
            self._write(GROUP_ROWS)

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise unwritable(self._folder, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Where nothing was added but the columns, these are told by a file without rows.
        if error is None and (self._held or (self._waiting and not self.paths)):
            self._write(self._held)
        self._close()

    def _write(self, count: int) -> None:
        table = pa.concat_tables(self._waiting)
        self._waiting, self._held = [table.slice(count)], table.num_rows - count
        path = self._folder / f"part-{len(self.paths):05d}.parquet"
        try:
            if self._writer is None:
                self.paths.append(path)
                self._writer = pq.ParquetWriter(path, table.schema, **COMPRESSION)
            self._writer.write_table(table.slice(0, count).combine_chunks(), row_group_size=GROUP_ROWS)
        except OSError as error:
            raise unwritable(path, error) from error
        self.rows += count
        self._in_file += count
        if self._in_file >= FILE_ROWS:
            self._close()

    def _close(self) -> None:
        writer, self._writer, self._in_file = self._writer, None, 0
        if writer is not None:
            try:
                writer.close()
            except OSError as error:
                raise unwritable(self._folder, error) from error
