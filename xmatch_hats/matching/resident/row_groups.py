"""Columns of a parquet partition's rows, read by row group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.matching.resident.files import FileState, naming, opened, require_types, take_rows

_NOTHING = pa.RecordBatch.from_arrays([], schema=pa.schema([]))


@dataclass(frozen=True)
class _Held:
    """What is in memory."""

    rows: pa.RecordBatch
    """Of whole row groups, one behind another: taking rows of many pieces costs more than the rows."""
    first: NDArray[np.int64]
    """Where each row group of the partition begins in it; -1 where it is not held."""


class RowGroups:
    """The row groups of a partition, of which those become resident that are asked for a second time.

    Parquet decodes a row group whole for a single row. A stream comes back to the same sky; for what is met once, the
    memory of what is decoded costs more than to decode it, so one row group makes room for the next.

    Parameters
    ----------
    partition : (int, int)
    files : sequence of FileState
    lengths : sequence of list of int
        Rows of the row groups of each file.
    """

    def __init__(self, partition: Partition, files: Sequence[FileState], lengths: Sequence[list[int]]) -> None:
        self._partition = partition
        self._files = files
        # Of each row group: its file, its number in that, and its first row in the partition.
        self._file = np.repeat(np.arange(len(files)), [len(groups) for groups in lengths])
        self._number = np.concatenate([np.arange(len(groups)) for groups in lengths])
        self._first = np.cumsum([0, *(length for groups in lengths for length in groups)], dtype=np.int64)
        self._met = np.zeros(len(self._file), dtype=bool)
        self._held = _Held(_NOTHING, np.full(len(self._file), -1, dtype=np.int64))
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """Memory that is held now."""
        return self._held.rows.get_total_buffer_size()

    def take(self, rows: NDArray[np.int64], schema: pa.Schema) -> pa.RecordBatch:
        """Columns of some rows, by number in the partition, in their order; as `Resident.take` does it by place."""
        if len(rows) == 0 or len(schema) == 0:
            return pa.RecordBatch.from_pylist([], schema)
        groups = np.searchsorted(self._first, rows, side="right") - 1
        with self._lock:
            is_known = self._met[groups]
            self._met[groups] = True
            held = self._held = self._holding(groups[is_known], schema)
        places = rows + (held.first - self._first[:-1])[groups]
        if is_known.all():
            return take_rows(held.rows, places, schema)
        known, new = np.flatnonzero(is_known), np.flatnonzero(~is_known)
        new = new[np.argsort(groups[new], kind="stable")]
        parts = self._passing(rows[new], groups[new], schema)
        if len(known):
            parts.append(take_rows(held.rows, places[known], schema))
        return pa.concat_batches(parts).take(pa.array(np.argsort(np.r_[new, known])))

    def _passing(self, rows: NDArray[np.int64], groups: NDArray[np.int64], schema: pa.Schema) -> list[pa.RecordBatch]:
        """Take rows, which come by row group, and keep nothing else."""
        parts = []
        for place in np.unique(self._file[groups]):
            state = self._files[place]
            with naming(state[0], self._partition), opened(state) as file:
                require_types(file.schema_arrow, schema, state[0])
                for group in np.unique(groups[self._file[groups] == place]):
                    decoded = _decode(file, [self._number[group]], schema)
                    parts.append(take_rows(decoded, rows[groups == group] - self._first[group], schema))
        return parts

    def _holding(self, groups: NDArray[np.int64], schema: pa.Schema) -> _Held:
        """What is held, with some columns of some row groups added where they are not there yet."""
        held = self._held
        known = held.rows.schema
        if len(groups) == 0:
            return held
        if schema != known and not set(schema) <= set(known):
            # All row groups have the same columns: those that are held are read anew.
            schema = pa.schema(dict.fromkeys([*known, *schema]))
            groups = np.r_[groups, np.flatnonzero(held.first >= 0)]
            held = _Held(_NOTHING, np.full_like(held.first, -1))
        else:
            schema = known
        wanting = np.unique(groups[held.first[groups] < 0])
        if len(wanting) == 0:
            return held
        batches = [held.rows] if held.rows.num_columns else []
        for place in np.unique(self._file[wanting]):
            state = self._files[place]
            numbers = self._number[wanting[self._file[wanting] == place]]
            with naming(state[0], self._partition), opened(state) as file:
                require_types(file.schema_arrow, schema, state[0])
                batches.append(_decode(file, numbers.tolist(), schema))
        lengths = np.diff(self._first)[wanting]
        first = held.first.copy()
        first[wanting] = held.rows.num_rows + np.cumsum(lengths) - lengths
        return _Held(pa.concat_batches(batches), first)


def _decode(file: pq.ParquetFile, numbers: list[int], schema: pa.Schema) -> pa.RecordBatch:
    # One thread: partitions are read side by side already.
    rows = file.read_row_groups(numbers, columns=schema.names, use_threads=False).select(schema.names)
    batches = pa.Table.from_arrays(rows.columns, schema=schema).to_batches()
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
