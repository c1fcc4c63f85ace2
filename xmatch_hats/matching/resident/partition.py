"""A partition that stays open: its positions at once and for good, its other columns as rows of them are asked for.

Workers import this module, so it knows neither LSDB nor hats.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition, partition_path
from xmatch_hats.catalogs.side_copy import SideCopy
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.sorted import SortedSky
from xmatch_hats.sphere import PositionFault, position_faults

logger = logging.getLogger(__name__)

FileState = tuple[str, int, int, int, int]
"""Path, device, inode, size and time of last change: another content has another one."""


@dataclass(frozen=True)
class Source:
    """What must be known of a copy to open its partitions."""

    main_path: Path
    suffix: str
    state: str
    """Of the copy's folder (`folder_state`): what is resident of one content answers for no other."""
    ra_column: str
    dec_column: str
    has_index: bool
    """Whether the recorded spatial indexes are those of the positions. They are in our own copies; of others they are
    worked out again, as one wrong index would be a match lost."""

    def path(self, partition: Partition) -> Path:
        """Path of a partition's rows: a file, or a folder of files."""
        return partition_path(self.main_path, partition, self.suffix)


class Resident(Protocol):
    """An open partition."""

    @property
    def sky(self) -> SortedSky:
        """Valid positions of the partition, in the order of the sphere."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that it holds now."""
        ...

    def is_current(self) -> bool:
        """Whether its files are still those that it was opened from."""
        ...

    def take(self, places: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
        """Columns of the rows at some places of `sky`, in that order.

        Parameters
        ----------
        places : ndarray of int64, shape (n,)
        schema : pyarrow.Schema
            Names and types, without metadata.

        Raises
        ------
        PartitionReadError
            They cannot be read, or are of other types.
        """
        ...


def open_partition(source: Source, partition: Partition, schema: pa.Schema, side: SideCopy | None) -> Resident:
    """Open a partition, from its side copy where there is one that can be read.

    Parameters
    ----------
    source : Source
    partition : (int, int)
    schema : pyarrow.Schema
        Columns that will be asked of it; more may be asked later.
    side : SideCopy or None
        One that has these columns.

    Raises
    ------
    PartitionReadError
        It cannot be read, or lacks a column or has it with another type.
    """
    if side is not None:
        try:
            return MappedPartition(source, partition, schema, side)
        except PartitionReadError as error:
            _warn_once(side, error)
    return ParquetPartition(source, partition, schema)


_told: set[tuple[Path, str]] = set()


def _warn_once(side: SideCopy, error: PartitionReadError) -> None:
    """Say what is wrong with a side copy, but not of each of its files."""
    if (side.folder, side.version) not in _told:
        _told.add((side.folder, side.version))
        logger.warning("%s; what of the side copy cannot be read is read from the catalogue itself", error)


class MappedPartition:
    """A partition of a side copy, mapped into memory: what is not touched is not read.

    Its bytes are those of its file, as touched pages count as the process's own memory, and of what is not mapped.
    """

    def __init__(self, source: Source, partition: Partition, schema: pa.Schema, side: SideCopy) -> None:
        path = side.path(partition)
        with naming(path, partition):
            self._path, self._files = path, file_states(path)
            rows = side.read(partition)
            self._rows = pa.RecordBatch.from_arrays(rows.columns, schema=_plain(rows.schema))
            self._expected = self._rows.select([name for name in schema.names if name in rows.schema.names])
            _require_types(self._expected.schema, schema, path)
            index = _column(rows, HEALPIX_COLUMN, np.int64) if source.has_index else None
            ra, dec = (_column(rows, name, np.float64) for name in (source.ra_column, source.dec_column))
            self.sky, self._places = _sort(ra, dec, index)
        # Positions that had to be sorted are in memory, beside the map.
        self.bytes = self._files[0][3] + (0 if self._places is None else 32 * len(self.sky))

    def is_current(self) -> bool:
        """Whether its file is still the one that was mapped; another one may have other columns."""
        return _is_current(self._path, self._files)

    def take(self, places: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
        """Columns of the rows at some places of `sky`."""
        held = self._expected if self._expected.schema == schema else self._rows
        return _take(held, places if self._places is None else self._places[places], schema)


_NOTHING = pa.RecordBatch.from_arrays([], schema=pa.schema([]))


class ParquetPartition:
    """A partition of parquet files.

    Of the asked columns whole row groups become resident, each as the first of its rows is asked for: parquet decodes
    them whole for a single row. They lie one behind another in one batch, as taking rows of many pieces costs more than
    the rows.
    """

    def __init__(self, source: Source, partition: Partition, schema: pa.Schema) -> None:
        self._partition = partition
        self._path = source.path(partition)
        names = [*([HEALPIX_COLUMN] if source.has_index else []), source.ra_column, source.dec_column]
        with naming(self._path, partition):
            self._files = file_states(self._path)
        lengths, tables, groups = [0], [], []
        for place, state in enumerate(self._files):
            with naming(state[0], partition), _opened(state) as file:
                _require_types(file.schema_arrow, schema, state[0])
                tables.append(file.read(columns=names).select(names))
                groups += [(place, number) for number in range(file.num_row_groups)]
                lengths += [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        with naming(self._path, partition):
            rows = pa.concat_tables(tables)
            index = _column(rows, HEALPIX_COLUMN, np.int64) if source.has_index else None
            ra, dec = (_column(rows, name, np.float64) for name in (source.ra_column, source.dec_column))
            self.sky, self._places = _sort(ra, dec, index)
        # Of each row group: its file, its number in that, and its first row in the partition.
        self._file, self._number = np.array(groups, dtype=np.int64).reshape(-1, 2).T
        self._first = np.cumsum(lengths, dtype=np.int64)
        self._held = _Held(_NOTHING, np.full(len(groups), -1, dtype=np.int64))
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """Memory that it holds now."""
        places = 0 if self._places is None else self._places.nbytes
        return 24 * len(self.sky) + places + self._held.rows.get_total_buffer_size()

    def is_current(self) -> bool:
        """Whether its files are still those that it was opened from.

        What is resident would answer all the same; but a file that cannot be read, or holds something else, is then
        found as soon as it would be without any memory of it.
        """
        return _is_current(self._path, self._files)

    def take(self, places: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
        """Columns of the rows at some places of `sky`."""
        if len(places) == 0:
            return pa.RecordBatch.from_pylist([], schema)
        rows = places if self._places is None else self._places[places]
        groups = np.searchsorted(self._first, rows, side="right") - 1
        with self._lock:
            held = self._held = self._holding(groups, schema)
        return _take(held.rows, rows + (held.first - self._first[:-1])[groups], schema)

    def _holding(self, groups: NDArray[np.int64], schema: pa.Schema) -> _Held:
        """What is held, with some columns of some row groups added where they are not there yet."""
        held = self._held
        known = held.rows.schema
        if schema != known and not set(schema) <= set(known):
            # All row groups have the same columns: those that are held are read anew.
            schema = pa.schema(dict.fromkeys([*known, *schema]))
            groups = np.r_[groups, np.flatnonzero(held.first >= 0)]
            held = _Held(_NOTHING, np.full_like(held.first, -1))
        else:
            schema = known
        wanting = groups[held.first[groups] < 0]
        if len(wanting) == 0:
            return held
        wanting = np.unique(wanting)
        batches = [held.rows] if held.rows.num_columns else []
        for place in np.unique(self._file[wanting]):
            batches += self._read(place, wanting, schema)
        lengths = np.diff(self._first)[wanting]
        first = held.first.copy()
        first[wanting] = held.rows.num_rows + np.cumsum(lengths) - lengths
        return _Held(pa.concat_batches(batches), first)

    def _read(self, place: int, groups: NDArray[np.int64], schema: pa.Schema) -> list[pa.RecordBatch]:
        """Read those of some row groups that lie in one of the files."""
        state = self._files[place]
        numbers = self._number[groups[self._file[groups] == place]].tolist()
        with naming(state[0], self._partition), _opened(state) as file:
            _require_types(file.schema_arrow, schema, state[0])
            rows = file.read_row_groups(numbers, columns=schema.names).select(schema.names)
            return pa.Table.from_arrays(rows.columns, schema=schema).to_batches()


@dataclass(frozen=True)
class _Held:
    """The columns that a partition holds beside its positions."""

    rows: pa.RecordBatch
    """Of whole row groups, one behind another."""
    first: NDArray[np.int64]
    """Where each row group of the partition begins in it; -1 where it is not held."""


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


def _is_current(path: Path, states: tuple[FileState, ...]) -> bool:
    try:
        return file_states(path) == states
    except OSError:
        return False


@contextmanager
def _opened(state: FileState) -> Iterator[pq.ParquetFile]:
    """Open a file that must be the one that is known: rows of another would be answered for its positions."""
    with open(state[0], "rb") as raw:
        if _state_of(state[0], os.fstat(raw.fileno())) != state:
            raise ValueError("it was exchanged meanwhile")
        with pq.ParquetFile(raw) as file:
            yield file


def _plain(schema: pa.Schema) -> pa.Schema:
    """Names and types alone."""
    return pa.schema([(field.name, field.type) for field in schema])


def _take(rows: pa.RecordBatch, numbers: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
    chosen = rows if rows.schema == schema else rows.select(schema.names)
    return chosen.take(pa.array(numbers))


def _require_types(found: pa.Schema, schema: pa.Schema, path: Path | str) -> None:
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


def _column(rows: pa.Table | pa.RecordBatch, name: str, dtype: type) -> NDArray:
    column = rows[name]
    if column.null_count or column.type != pa.from_numpy_dtype(dtype):
        column = column.cast(pa.from_numpy_dtype(dtype))
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())


def _sort(
    ra: NDArray[np.float64], dec: NDArray[np.float64], index: NDArray[np.int64] | None
) -> tuple[SortedSky, NDArray[np.int64] | None]:
    """Sort the valid positions; also the row of each, None where that is its place."""
    if index is not None and bool((index[1:] >= index[:-1]).all()):
        return SortedSky(index, ra, dec, None), None
    rows = np.flatnonzero(position_faults(ra, dec) == PositionFault.NONE).astype(np.int64)
    index = cells_of(ra[rows], dec[rows])
    order = np.argsort(index, kind="stable")
    rows = rows[order]
    return SortedSky(index[order], ra[rows], dec[rows], None), rows
