"""Rows of remote partitions into local parquet files: only the bytes that are needed, verified, resumable.

The wanted byte ranges of a remote file are put at their own places in a sparse local file, which then reads like the
remote one. So memory is bounded by one request and one batch of rows for each worker, however large the partitions are.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.footer import FilePlan, TornFileError, footer_length, plan_file, wanted_groups
from xmatch_hats.catalogs.remote import FileState
from xmatch_hats.catalogs.remote_catalog import Partition, RemoteCatalog
from xmatch_hats.errors import CatalogError, RemoteError

REQUESTS_PER_WORKER = 2
"""Requests under way for each partition: while one answers, the next is already asked."""
BATCH_BYTES = 64 << 20
"""Decoded bytes of the rows held at once by a worker, about."""
READ_BUFFER_BYTES = 256 << 10
"""Bytes of each column that the parquet reader holds; without a bound it loads whole column chunks."""
_ATTEMPTS = 3
"""Times that a file is fetched whose bytes came, but do not make sense."""

Mask = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]


class FetchProgress(Protocol):
    """Somebody who watches; called by several threads, one at a time."""

    def fetched(self, bytes_: int, rows: int) -> None:
        """So many more bytes came, and so many more rows were kept."""


@dataclass(frozen=True)
class Selection:
    """Which columns and rows are wanted."""

    columns: tuple[str, ...]
    """Names in the remote files, in the order to keep."""
    ra_column: str
    dec_column: str
    outer: NDArray[np.int64] | None = None
    """Ranges of cells outside of which no row is wanted; None for the whole catalogue."""
    mask: Mask | None = None
    """Tells the wanted rows by ra and dec, degrees."""
    ucds: tuple[tuple[str, str], ...] = ()
    """UCDs to write beside columns, so that they are known for what they are."""


@dataclass(frozen=True)
class Part:
    """One remote file, fetched."""

    path: str
    size: int
    tag: str
    checksum: str
    rows_read: int
    rows_kept: int
    kept_bytes: int
    """Size of the local file; 0 if no row was kept, and there is no file."""

    def is_of(self, plan: FilePlan) -> bool:
        """Whether it is of the version of the file that is planned now, as far as anybody can tell."""
        known = bool(self.checksum or self.tag)
        return (
            known
            and (self.path, FileState(self.size, self.tag)) == (plan.path, plan.state)
            and (not plan.checksum or self.checksum == plan.checksum)
        )


@dataclass(frozen=True)
class Task:
    """One remote file to fetch."""

    name: str
    """Of the local files; sorts along the sky."""
    plan: FilePlan


def plan_tasks(
    catalog: RemoteCatalog, partitions: Sequence[Partition], selection: Selection, workers: int
) -> list[Task]:
    """Read the footers of partitions and decide what to fetch of each, in the order of the sky."""

    def plan(partition: Partition) -> list[Task]:
        plans = [plan_file(catalog, path, selection.columns, selection.outer) for path in catalog.files(partition)]
        return [Task(f"{partition.name}-{number:03d}", plan) for number, plan in enumerate(plans)]

    with ThreadPoolExecutor(workers * REQUESTS_PER_WORKER) as pool:
        return [task for tasks in pool.map(plan, partitions) for task in tasks]


class Fetcher:
    """Fetch files into a folder.

    Parameters
    ----------
    catalog : RemoteCatalog
    selection : Selection
    folder : Path
        Where the local files go; it exists.
    workers : int
        Files fetched at once.
    progress : FetchProgress
    check : callable, optional
        Given the kept rows of each file in batches and its URL, before they are trusted; raises to refuse.
    """

    def __init__(
        self,
        catalog: RemoteCatalog,
        selection: Selection,
        folder: Path,
        workers: int,
        progress: FetchProgress,
        check: Callable[[Iterator[pa.RecordBatch], str], Iterator[pa.RecordBatch]] | None = None,
    ) -> None:
        self._catalog, self._selection, self._folder = catalog, selection, folder
        self._workers, self._progress, self._check = workers, progress, check
        self._lock = threading.Lock()

    def file(self, name: str) -> Path:
        """Local file of a task; it is there if rows were kept."""
        return self._folder / f"{name}.parquet"

    def run(self, tasks: Sequence[Task]) -> list[Part]:
        """Fetch everything that is not there yet.

        Returns
        -------
        list of Part
            In the order of the tasks.

        Raises
        ------
        RemoteError
            A file cannot be read, is damaged, or has changed since the plan was made.
        """
        with (
            ThreadPoolExecutor(self._workers * REQUESTS_PER_WORKER) as requests,
            ThreadPoolExecutor(self._workers) as pool,
        ):
            futures = [pool.submit(self._one, task, requests) for task in tasks]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    # Raises the failure that stops everything, before others that only follow from it.
                    future.result()
                return [future.result() for future in futures]
            except BaseException:
                self._catalog.store.give_up()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, task: Task, requests: ThreadPoolExecutor) -> Part:
        if (part := self.finished(task)) is not None:
            self._tell(task.plan.bytes, part.rows_kept)
            return part
        place = self._catalog.store.path(task.plan.path)
        try:
            for trial in self._catalog.store.retry.trials(TornFileError, attempts=_ATTEMPTS):
                with trial:
                    return self._fetch(task, requests)
        except TornFileError as error:
            raise RemoteError(f"is damaged or has changed: {error}", place=place, hint="run it again") from error
        raise RemoteError("was not tried", place=place)

    def finished(self, task: Task) -> Part | None:
        """What an earlier run has fetched of the same version of the file, None if nothing that can be trusted."""
        try:
            record = json.loads(self._record(task.name).read_text(encoding="utf-8"))
            part = Part(**record)
            size = self.file(task.name).stat().st_size if part.rows_kept else 0
        except (OSError, ValueError, TypeError):
            return None
        return part if part.is_of(task.plan) and size == part.kept_bytes else None

    def _record(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _fetch(self, task: Task, requests: ThreadPoolExecutor) -> Part:
        sparse = self._folder / f"{task.name}.fetching"
        came = 0
        try:
            came = self._fill(sparse, task.plan, requests)
            if self._catalog.store.state(task.plan.path) != task.plan.state:
                raise RemoteError(
                    "has changed while it was read",
                    place=self._catalog.store.path(task.plan.path),
                    hint="run the same command again: what has not changed is kept",
                )
            return self._keep(sparse, task)
        except (pa.ArrowInvalid, TornFileError, OSError) as error:
            # The parquet reader's own complaints are OSErrors without a number; the disk's have one.
            if isinstance(error, OSError) and error.errno is not None:
                raise CatalogError(f"cannot be written to: {error.strerror}", place=self._folder) from error
            self._tell(-came, 0)
            raise TornFileError(" ".join(str(error).split())) from error
        finally:
            sparse.unlink(missing_ok=True)

    def _fill(self, sparse: Path, plan: FilePlan, requests: ThreadPoolExecutor) -> int:
        if not self._catalog.ranges:
            self._catalog.store.download(plan.path, sparse, plan.state.size)
            self._tell(plan.bytes, 0)
            return plan.bytes
        with sparse.open("wb") as file:
            file.truncate(plan.state.size)
            descriptor = file.fileno()
            futures = [requests.submit(self._request, plan.path, span, descriptor) for span in plan.requests]
            try:
                for future in futures:
                    future.result()
            finally:
                # None may write to the descriptor once it is closed, and perhaps another file's.
                for future in futures:
                    future.cancel()
                wait(futures)
        return plan.bytes

    def _request(self, path: str, span: tuple[int, int], descriptor: int) -> None:
        if self._catalog.store.given_up:
            raise RemoteError("was given up after another failure", place=self._catalog.store.path(path))
        data = self._catalog.store.read_range(path, *span)
        os.pwrite(descriptor, data, span[0])
        self._tell(len(data), 0)

    def _keep(self, sparse: Path, task: Task) -> Part:
        """Write the wanted rows, under the final name only when all of them are there."""
        checksum = _local_checksum(sparse)
        if task.plan.checksum and checksum != task.plan.checksum:
            raise TornFileError("its footer is another one than a moment ago")
        fresh = self._folder / f"{task.name}.new"
        with pq.ParquetFile(sparse, page_checksum_verification=True, buffer_size=READ_BUFFER_BYTES) as source:
            groups = wanted_groups(source.metadata, self._catalog, self._selection.outer)
            expected = sum(source.metadata.row_group(group).num_rows for group in groups)
            read, kept = self._copy_rows(source, groups, fresh, self._catalog.store.path(task.plan.path))
        if read != expected:
            raise TornFileError(f"it has {read} rows instead of {expected}")
        kept_bytes = fresh.stat().st_size if kept else 0
        if kept:
            os.replace(fresh, self.file(task.name))
        else:
            fresh.unlink(missing_ok=True)
        state = task.plan.state
        part = Part(task.plan.path, state.size, state.tag, checksum, read, kept, kept_bytes)
        # The record vouches for the file, so it is written after it.
        record = self._record(task.name)
        fresh.write_text(json.dumps(asdict(part)), encoding="utf-8")
        os.replace(fresh, record)
        self._tell(0, kept)
        return part

    def _copy_rows(self, source: pq.ParquetFile, groups: list[int], target: Path, place: str) -> tuple[int, int]:
        selection = self._selection
        schema = source.schema_arrow
        if missing := [name for name in selection.columns if name not in schema.names]:
            raise RemoteError(f"lacks the columns {', '.join(missing)}", place=place)
        out = pa.schema([_described(schema.field(name), dict(selection.ucds)) for name in selection.columns])
        counts = [0, 0]

        def kept() -> Iterator[pa.RecordBatch]:
            rows = max(1024, BATCH_BYTES // (16 * len(selection.columns)))
            for batch in source.iter_batches(rows, row_groups=groups, columns=list(selection.columns)):
                counts[0] += batch.num_rows
                wanted = self._wanted(batch)
                counts[1] += wanted.num_rows
                if wanted.num_rows:
                    yield pa.RecordBatch.from_arrays([wanted.column(name) for name in selection.columns], schema=out)

        batches = kept()
        with pq.ParquetWriter(target, out, compression="zstd", compression_level=1) as writer:
            for batch in self._check(batches, place) if self._check is not None else batches:
                writer.write_batch(batch)
        return counts[0], counts[1]

    def _wanted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._selection.mask is None:
            return batch
        ra, dec = (
            batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
            for name in (self._selection.ra_column, self._selection.dec_column)
        )
        return batch.filter(pa.array(self._selection.mask(ra, dec)))

    def _tell(self, bytes_: int, rows: int) -> None:
        with self._lock:
            self._progress.fetched(bytes_, rows)


def _described(field: pa.Field, ucds: dict[str, str]) -> pa.Field:
    if field.name not in ucds:
        return field
    return field.with_metadata({**(field.metadata or {}), b"ucd": ucds[field.name].encode()})


def _local_checksum(path: Path) -> str:
    """Checksum of the footer of a local file, as `Footer.checksum` has it."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = footer_length(file.read(8))
        if length > path.stat().st_size:
            raise TornFileError("its footer is longer than the file")
        file.seek(-length, os.SEEK_END)
        return hashlib.sha256(file.read(length)).hexdigest()
