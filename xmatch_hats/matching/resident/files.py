"""The parquet files of a partition: told apart by their state, named in whatever fails, never taken for others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.errors import PartitionReadError

FileState = tuple[str, int, int, int, int]
"""Path, device, inode, size and time of last change: another content has another one."""


@contextmanager
def naming(path: Path | str, partition: Partition) -> Iterator[None]:
    """Name the partition and its file in whatever fails while it is read."""
    try:
        yield
    except PartitionReadError:
        raise
    except (pa.ArrowException, OSError, EOFError, KeyError, ValueError) as error:
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        order, pixel = partition
        raise PartitionReadError(
            f"partition Norder={order}, Npix={pixel} cannot be read: {first_line}", place=path, hint=_HINT
        ) from error


_HINT = "run `xmatch-hats catalog verify` on the copy"


def file_states(path: Path) -> tuple[FileState, ...]:
    """State of a partition's file, or of each of its files where it is a folder."""
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        return (_state_of(str(path), found),)
    files = tuple(_state_of(str(file), os.stat(file)) for file in sorted(path.rglob("*.parquet")))
    if not files:
        raise FileNotFoundError("it is an empty folder")
    return files


def _state_of(path: str, found: os.stat_result) -> FileState:
    return (path, found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns)


def is_current(path: Path, states: tuple[FileState, ...]) -> bool:
    """Whether a partition still has the files that it had."""
    try:
        return file_states(path) == states
    except OSError:
        return False


@contextmanager
def opened(state: FileState) -> Iterator[pq.ParquetFile]:
    """Open a file that must be the one that is known: rows of another would be answered for its positions."""
    # Not a file of Python's, which Arrow would have to ask for every column chunk.
    with pa.OSFile(state[0]) as raw:
        if _state_of(state[0], os.fstat(raw.fileno())) != state:
            raise ValueError("it was exchanged meanwhile")
        with pq.ParquetFile(raw) as file:
            yield file


def take_rows(rows: pa.RecordBatch, numbers: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
    """Take the asked columns of some rows."""
    chosen = rows if rows.schema == schema else rows.select(schema.names)
    return chosen.take(pa.array(numbers))


def require_types(found: pa.Schema, schema: pa.Schema, path: Path | str) -> None:
    """Refuse a file that lacks a column, or has it with another type."""
    if found == schema:
        return
    for field in schema:
        place = found.get_field_index(field.name)
        if place < 0 or found.field(place).type != field.type:
            raise PartitionReadError(
                f"has other columns or types than its catalogue: {field.name} is no {field.type}",
                place=path,
                hint=_HINT,
            )
