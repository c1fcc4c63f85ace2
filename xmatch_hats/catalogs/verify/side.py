"""The check of the side copy: the same rows as the main table has, sorted, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.catalogs._side_copy_build import INFO_NAME
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.catalogs.manifest import SIDE_COPY_NAME
from xmatch_hats.catalogs.side_copy import REBUILD_HINT, SideCopy
from xmatch_hats.catalogs.verify.digest import Words, row_digests
from xmatch_hats.catalogs.verify.findings import Findings, Tally
from xmatch_hats.catalogs.verify.margins import BATCH_ROWS
from xmatch_hats.catalogs.verify.report import Place, VerifyReport
from xmatch_hats.catalogs.verify.rows import in_threads
from xmatch_hats.catalogs.verify.subject import PARQUET_ERRORS, Table, read_subject
from xmatch_hats.catalogs.verify.tiling import Ints
from xmatch_hats.errors import CatalogError, PartitionReadError

CHECK = "side-copy"


def verify_side_copy(copy: LocalCopy) -> VerifyReport:
    """Verify the side copy alone, of a copy that is itself verified.

    Raises
    ------
    CatalogError
        The copy cannot be read.
    """
    started = perf_counter()
    findings = Findings()
    check_side_copy(read_subject(copy.path, findings).main, findings, lambda: None)
    return findings.report(copy.path, perf_counter() - started)


def check_side_copy(main: Table | None, findings: Findings, step: Callable[[], None]) -> None:
    """Compare every value of the side copy, if there is one, with the main table.

    Memory, for each thread: one row group decoded, and 16 bytes for each row of a partition.

    Parameters
    ----------
    main : Table or None
        The main table; None where it cannot be read.
    findings : Findings
    step : callable
        Called after each partition.
    """
    tally = findings[CHECK]
    if main is None or not (main.root / SIDE_COPY_NAME).exists():
        tally.skip("there is none" if main is not None else "no readable main table")
        return
    try:
        side = SideCopy.open(LocalCopy.open(main.root))
    except CatalogError as error:
        tally.fault(Place(SIDE_COPY_NAME, error.message))
        side = None
    if side is not None:
        _check_files(side, tally)
        comparison = _Comparison(main, side)
        for found in in_threads(comparison.check, main.partitions):
            tally.merge(found)
            step()
    if tally.faults:
        tally.note(REBUILD_HINT)


def _check_files(side: SideCopy, tally: Tally) -> None:
    """Look for stray files; missing ones are found where they are read."""
    expected = {side.path(partition) for partition in side.sizes} | {side.folder / INFO_NAME}
    for path in sorted(side.folder.rglob("*")):
        if path.is_file() and path not in expected:
            tally.fault(Place(path.relative_to(side.folder.parent).as_posix(), "belongs to no partition"))


class _Comparison:
    """Compares the files of a side copy with those of the main table."""

    def __init__(self, main: Table, side: SideCopy) -> None:
        self._main, self._side = main, side

    def check(self, partition: Partition) -> Tally:
        """Compare one partition."""
        tally = Tally(looked_at=1)
        path = self._side.path(partition)
        try:
            self._compare(partition, self._read(partition), tally)
        except PartitionReadError as error:
            tally.fault(self._main.place(path, error.message, partition))
        return tally

    def _read(self, partition: Partition) -> pa.RecordBatch:
        path, size = self._side.path(partition), self._side.sizes[partition][1]
        rows = self._side.read(partition)
        try:
            rows.validate(full=True)
            found = path.stat().st_size
        except (pa.ArrowException, OSError) as error:
            raise PartitionReadError(f"cannot be read: {error}", place=path) from error
        if found != size:
            raise PartitionReadError(f"has {found} bytes, its description says {size}", place=path)
        return rows

    def _compare(self, partition: Partition, rows: pa.RecordBatch, tally: Tally) -> None:
        path = self._side.path(partition)
        index = rows.column(HEALPIX_COLUMN).to_numpy(zero_copy_only=False)
        place = self._main.place(path, "", partition)
        if len(behind := np.flatnonzero(np.diff(index) < 0) + 1):
            tally.fault_rows(behind, place.file, "comes after a row of a higher HEALPix index", place.partition)
            return
        try:
            expected = self._expected(self._main.files(partition))
        except (*PARQUET_ERRORS, KeyError):
            # The main table's fault, and named by the checks of it.
            tally.note("partitions that cannot be read were not compared")
            return
        except CatalogError as error:
            tally.note(f"not compared: {error.message}")
            return
        if len(expected) != rows.num_rows:
            text = f"has {rows.num_rows} rows, the partition has {len(expected)}"
            raise PartitionReadError(text, place=path)
        wrong = np.flatnonzero(_digests(rows, self._side.columns) != expected)
        tally.fault_rows(wrong, place.file, "differs from the row of the main table", place.partition)

    def _expected(self, files: Sequence[Path]) -> Words:
        """Digests of the rows of the main table, in the order that the side copy must have."""
        digests: list[Words] = [np.empty(0, dtype=np.uint64)]
        index: list[Ints] = [np.empty(0, dtype=np.int64)]
        for path in files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(self._side.columns)):
                    digests.append(row_digests(batch, self._side.columns))
                    index.append(batch.column(HEALPIX_COLUMN).cast(pa.int64()).to_numpy(zero_copy_only=False))
        # Also where the main table is sorted: a stable sort leaves it as it is.
        return np.concatenate(digests)[np.argsort(np.concatenate(index), kind="stable")]


def _digests(rows: pa.RecordBatch, columns: Sequence[str]) -> Words:
    parts = [
        row_digests(rows.slice(start, BATCH_ROWS), columns) for start in range(0, max(rows.num_rows, 1), BATCH_ROWS)
    ]
    return np.concatenate(parts)
