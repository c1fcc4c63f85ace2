"""A partition that stays open: its positions at once and for good, its other columns as rows of them are asked for.

Workers import this module, so it knows neither LSDB nor hats.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition, partition_path
from xmatch_hats.catalogs.side_copy import SideCopy
from xmatch_hats.errors import PartitionReadError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.resident.files import file_states, is_current, naming, opened, require_types, take_rows
from xmatch_hats.matching.resident.row_groups import RowGroups
from xmatch_hats.matching.sorted import SortedSky
from xmatch_hats.sphere import PositionFault, position_faults

logger = logging.getLogger(__name__)


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
            warn_once(side, error)
    return ParquetPartition(source, partition, schema)


_told: set[tuple[Path, str]] = set()


def warn_once(side: SideCopy, error: PartitionReadError) -> None:
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
            self._path, self._partition, self._files = path, partition, file_states(path)
            rows = side.read(partition)
            self._rows = pa.RecordBatch.from_arrays(rows.columns, schema=_plain(rows.schema))
            self._expected = self._rows.select([name for name in schema.names if name in rows.schema.names])
            require_types(self._expected.schema, schema, path)
            index = _column(rows, HEALPIX_COLUMN, np.int64) if source.has_index else None
            ra, dec = (_column(rows, name, np.float64) for name in (source.ra_column, source.dec_column))
            self.sky, self._places = _sort(ra, dec, index)
        # Positions that had to be sorted are in memory, beside the map.
        self.bytes = self._files[0][3] + (0 if self._places is None else 32 * len(self.sky))

    def is_current(self) -> bool:
        """Whether its file is still the one that was mapped; another one may have other columns."""
        return is_current(self._path, self._files)

    def take(self, places: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
        """Columns of the rows at some places of `sky`."""
        held = self._expected if self._expected.schema == schema else self._rows
        with naming(self._path, self._partition):
            taken = take_rows(held, places if self._places is None else self._places[places], schema)
            # Only now it is known which texts are asked for, and whether they are any.
            taken.validate(full=True)
        return taken


class ParquetPartition:
    """A partition of parquet files."""

    def __init__(self, source: Source, partition: Partition, schema: pa.Schema) -> None:
        self._path = source.path(partition)
        names = [*([HEALPIX_COLUMN] if source.has_index else []), source.ra_column, source.dec_column]
        with naming(self._path, partition):
            self._files = file_states(self._path)
        tables, groups = [], []
        for state in self._files:
            with naming(state[0], partition), opened(state) as file:
                require_types(file.schema_arrow, schema, state[0])
                # One thread: partitions are read side by side already.
                tables.append(file.read(columns=names, use_threads=False).select(names))
                groups.append([file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)])
        with naming(self._path, partition):
            rows = pa.concat_tables(tables)
            index = _column(rows, HEALPIX_COLUMN, np.int64) if source.has_index else None
            ra, dec = (_column(rows, name, np.float64) for name in (source.ra_column, source.dec_column))
            self.sky, self._places = _sort(ra, dec, index)
        self._rows = RowGroups(partition, self._files, groups)
        self._coordinates = {source.ra_column: self.sky.ra, source.dec_column: self.sky.dec}

    @property
    def bytes(self) -> int:
        """Memory that it holds now."""
        places = 0 if self._places is None else self._places.nbytes
        return 24 * len(self.sky) + places + self._rows.bytes

    def is_current(self) -> bool:
        """Whether its files are still those that it was opened from.

        What is resident would answer all the same; but a file that cannot be read, or holds something else, is then
        found as soon as it would be without any memory of it.
        """
        return is_current(self._path, self._files)

    def take(self, places: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
        """Columns of the rows at some places of `sky`."""
        rows = places if self._places is None else self._places[places]
        # Coordinates are here already, in double precision; a file may have them in another.
        known = {
            name: pa.array(values[places])
            for name, values in self._coordinates.items()
            if name in schema.names and pa.types.is_float64(schema.field(name).type)
        }
        other = pa.schema([field for field in schema if field.name not in known])
        taken = self._rows.take(rows, other)
        columns = [known[name] if name in known else taken[name] for name in schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain(schema: pa.Schema) -> pa.Schema:
    """Names and types alone."""
    return pa.schema([(field.name, field.type) for field in schema])


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
