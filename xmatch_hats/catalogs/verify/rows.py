"""The pass over the rows: each margin file once, then each partition once, in threads.

Memory, for each thread: one row group decoded, plus positions and ids of one partition (56 bytes a row); besides, the
claims of the margins (see `margins`) and the occupancy maps (see `maps`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.layout import Partition
from xmatch_hats.catalogs.verify.digest import Words, row_digests
from xmatch_hats.catalogs.verify.findings import Findings
from xmatch_hats.catalogs.verify.maps import OccupancyMaps
from xmatch_hats.catalogs.verify.margins import BATCH_ROWS, BorderRows, Claims, MarginChecker
from xmatch_hats.catalogs.verify.positions import FileChecker, position_columns, read_positions
from xmatch_hats.catalogs.verify.subject import PARQUET_ERRORS, Table
from xmatch_hats.catalogs.verify.tiling import Floats, Ints
from xmatch_hats.healpix import MAX_ORDER

T = TypeVar("T")
R = TypeVar("R")

WORKERS = max(1, min(4, os.cpu_count() or 1))
"""Decoding and HEALPix arithmetic run outside the interpreter's lock; beyond four, disks are the limit."""


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Map over items in threads, results in order, never more than two results a thread waiting."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True)
class FileRows:
    """Positions of one file of a partition."""

    path: Path
    cells: Ints
    ra: Floats
    dec: Floats
    ids: pa.ChunkedArray | None


def read_margin_claims(checker: MarginChecker, broken: set[Path], findings: Findings, step: Callable[[], None]) -> None:
    """Read every margin file of one cache that can be opened."""

    def read(number: int) -> tuple[Findings, Claims]:
        found = Findings()
        partition, path = checker.files[number]
        try:
            return found, checker.read_claims(number, found)
        except PARQUET_ERRORS as error:
            found["parquet"].fault(checker.margin.place(path, f"cannot be decoded: {error}", partition))
            return found, Claims.gather([])

    parts = []
    numbers = [number for number, (_, path) in enumerate(checker.files) if path not in broken]
    for found, claims in in_threads(read, numbers):
        findings.merge(found)
        parts.append(claims)
        step()
    checker.set_claims(parts, findings)


class PartitionChecker:
    """Checks the rows of the main table's partitions, each on its own."""

    def __init__(
        self, table: Table, margins: list[MarginChecker], maps: OccupancyMaps, id_column: str | None, broken: set[Path]
    ) -> None:
        self._table, self._margins, self._maps = table, margins, maps
        self._id_column, self._broken = id_column, broken

    def run(self, findings: Findings, step: Callable[[], None]) -> None:
        """Check every partition."""
        for found, cells, counts in in_threads(self._check, self._table.partitions):
            findings.merge(found)
            self._maps.add(cells, counts)
            step()
        self._maps.finish()

    def _check(self, partition: Partition) -> tuple[Findings, Ints, Ints]:
        found = Findings()
        files = []
        paths = self._table.files(partition)
        whole = not self._broken.intersection(paths)
        for path in paths:
            try:
                if path not in self._broken:
                    files.append(self._read(path, partition, found))
            except PARQUET_ERRORS as error:
                whole = False
                found["parquet"].fault(self._table.place(path, f"cannot be decoded: {error}", partition))
        if self._id_column is not None:
            self._check_ids(partition, files, found)
        for margin in self._margins:
            if not whole:
                found["margin-sound"].note("margin rows of partitions that cannot be read were not compared")
                continue
            try:
                margin.compare(partition, self._border(margin, partition, files), found)
            except PARQUET_ERRORS as error:
                place = self._table.place(paths[0], f"cannot be decoded: {error}", partition)
                found["parquet"].fault(place)
        cells = np.concatenate([file.cells for file in files]) if files else np.empty(0, dtype=np.int64)
        return found, *self._maps.count(cells[cells >= 0])

    def _read(self, path: Path, partition: Partition, found: Findings) -> FileRows:
        checker = FileChecker(self._table, path, partition, found)
        cells, ra, dec, ids = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0)], []
        columns = {*position_columns(self._table), *([self._id_column] if self._id_column else [])}
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=sorted(columns)):
                positions = read_positions(batch, self._table)
                checker.check(positions)
                cells.append(positions.cells)
                ra.append(positions.ra)
                dec.append(positions.dec)
                ids += [batch.column(self._id_column)] if self._id_column in batch.schema.names else []
        joined = pa.chunked_array(ids) if ids else None
        return FileRows(path, np.concatenate(cells), np.concatenate(ra), np.concatenate(dec), joined)

    def _check_ids(self, partition: Partition, files: list[FileRows], found: Findings) -> None:
        """Ties go to the smaller id, so equal ones would leave the answer to chance."""
        for file in files:
            if file.ids is None:
                continue
            found["ids"].looked_at += len(file.ids)
            place = self._table.place(file.path, "", partition)
            lacking = np.flatnonzero(file.ids.is_null().to_numpy())
            found["ids"].fault_rows(lacking, place.file, f"{self._id_column} is missing", place.partition)
            codes = file.ids.combine_chunks().dictionary_encode().indices.drop_null().to_numpy()
            order = np.argsort(codes, kind="stable")
            again = np.flatnonzero(file.ids.is_valid().to_numpy())[np.sort(order[1:][np.diff(codes[order]) == 0])]
            detail = f"has the {self._id_column} of an earlier row"
            found["ids"].fault_rows(again, place.file, detail, place.partition)

    def _border(self, margin: MarginChecker, partition: Partition, files: list[FileRows]) -> BorderRows:
        parts = []
        before = 0
        for number, file in enumerate(files):
            order, pixel = partition
            # Rows that are not in their pixel are named by their own check and belong to no margin.
            here = np.flatnonzero(file.cells >> 2 * (MAX_ORDER - order) == pixel)
            wanted, rows, tiles = margin.border(partition, file.cells[here], file.ra[here], file.dec[here])
            digests = _digests(file.path, here[wanted], margin.columns)
            near = np.searchsorted(wanted, rows) + before
            parts.append((np.full(len(wanted), number), here[wanted], file.cells[here[wanted]], digests, near, tiles))
            before += len(wanted)
        if not parts:
            empty = np.empty(0, dtype=np.int64)
            return BorderRows([], empty, empty, empty, empty.astype(np.uint64), empty, empty)
        return BorderRows(
            [file.path for file in files], *(np.concatenate(column) for column in zip(*parts, strict=True))
        )


def _digests(path: Path, rows: Ints, columns: list[str]) -> Words:
    """Digests of some rows (ascending) of a file; only the row groups that hold them are decoded."""
    parts: list[NDArray[np.uint64]] = [np.empty(0, dtype=np.uint64)]
    if not len(rows):
        return parts[0]
    with pq.ParquetFile(path) as file:
        held = [name for name in columns if name in file.schema_arrow.names]
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if np.searchsorted(rows, start) < np.searchsorted(rows, stop):
                for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=held):
                    first, last = np.searchsorted(rows, (start, start + batch.num_rows))
                    parts.append(row_digests(batch.take(rows[first:last] - start), columns))
                    start += batch.num_rows
            start = stop
    return np.concatenate(parts)
