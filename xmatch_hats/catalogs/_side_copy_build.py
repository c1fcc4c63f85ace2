"""How a side copy is built: the hidden folder for it, and its files, each appearing only whole."""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.catalogs.manifest import SIDE_COPY_NAME, SIDE_COPY_WORK
from xmatch_hats.display import told_bytes
from xmatch_hats.errors import CatalogError, PartitionReadError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.copy import LocalCopy

INFO_NAME = "side_copy.json"
SUFFIX = ".arrow"
VERSION_KEY = b"xmatch_hats.version"
"""Key of a file's schema metadata under which it says of which version of the copy it is."""

Progress = Callable[[int, int], None]
"""Called with the partitions done, and the partitions in all."""


class Info(BaseModel):
    """Content of ``side_copy.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    version: str
    """`LocalCopy.version` of the copy that the rows were taken from."""
    columns: tuple[str, ...]
    """Columns of every file, in their order."""
    partitions: tuple[tuple[int, int, int, int], ...]
    """Order, pixel, rows and bytes of each partition's file, along the sphere."""


class Workshop:
    """The hidden folder in which a side copy is built; a context manager that holds its lock.

    Left on an error, it stays for the next call; left otherwise, it goes.
    """

    def __init__(self, copy_folder: Path) -> None:
        self._published = copy_folder / SIDE_COPY_NAME
        self._folder = copy_folder / SIDE_COPY_WORK
        self.new = self._folder / "new"
        self._old = self._folder / "old"
        self._recipe = self._folder / "recipe.json"
        self._lock = FileLock(self._folder / "lock")

    def __enter__(self) -> Workshop:
        self._folder.mkdir(exist_ok=True)
        busy = CatalogError("its side copy is being written by another process", place=self._published.parent)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise busy from None
        if not (self._folder / "lock").exists():
            # Whoever finished just now has removed the folder, and with it the file that this lock is on.
            self._lock.release()
            raise busy
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()

    def begin(self, recipe: dict[str, object]) -> None:
        """Keep what an interrupted call by the same recipe built, clear away anything else."""
        text = json.dumps(recipe)
        try:
            same = self._recipe.read_text(encoding="utf-8") == text
        except (OSError, ValueError):
            same = False
        if not same:
            self.clear()
            self.new.mkdir()
            self._recipe.write_text(text, encoding="utf-8")

    def clear(self) -> None:
        """Remove everything built so far."""
        self._recipe.unlink(missing_ok=True)
        for folder in (self.new, self._old):
            if folder.exists():
                shutil.rmtree(folder)

    def publish(self) -> None:
        """Put what was built in the place of the present side copy."""
        self.set_aside()
        self.new.rename(self._published)

    def set_aside(self) -> None:
        """Take the present side copy away, as a whole."""
        if self._old.exists():
            shutil.rmtree(self._old)
        if self._published.exists():
            self._published.rename(self._old)


class Builder:
    """Writes the files of one side copy into a folder, and what it is last of all."""

    def __init__(self, copy: LocalCopy, columns: tuple[str, ...], folder: Path) -> None:
        self._copy, self._columns, self._folder = copy, columns, folder
        fields = [copy.schema.field(name).remove_metadata() for name in columns[1:]]
        self._schema = pa.schema(
            [pa.field(HEALPIX_COLUMN, pa.int64()), *fields], metadata={VERSION_KEY: copy.version.encode()}
        )

    def build(self, progress: Progress | None) -> None:
        total = len(self._copy.partitions)
        records = []
        left = self._copy.total_rows
        for done, partition in enumerate(self._copy.partitions, start=1):
            path = partition_file(self._folder, self._copy.version, partition)
            # Only a whole file has its name; one that is there was built by the call that this one takes up.
            rows = read_file(path).num_rows if path.exists() else self._write(path, self._read(partition))
            size = path.stat().st_size
            left -= rows
            if rows and done == 1:
                self._check_disk(size / rows * left)
            records.append((*partition, rows, size))
            if progress is not None:
                progress(done, total)
        info = Info(version=self._copy.version, columns=self._columns, partitions=tuple(records))
        _write_whole(self._folder / INFO_NAME, lambda path: path.write_text(f"{info.model_dump_json()}\n", "utf-8"))

    def _read(self, partition: Partition) -> pa.RecordBatch:
        path = self._copy.partition_file(partition)
        try:
            table = pq.read_table(path, columns=list(self._columns), partitioning=None).select(self._columns)
            arrays = [column.combine_chunks() for column in table.cast(self._schema).columns]
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise PartitionReadError(
                f"cannot be read: {words(error)}", place=path, hint="run `xmatch-hats catalog verify` on the copy"
            ) from error
        if any(isinstance(array, pa.ChunkedArray) for array in arrays):
            raise CatalogError("is too large for a side copy: 2 GiB of text in one column", place=path)
        rows = pa.record_batch(arrays, schema=self._schema)
        index = rows.column(0).to_numpy(zero_copy_only=False)
        if (np.diff(index) < 0).any():
            rows = rows.take(pa.array(np.argsort(index, kind="stable")))
        return rows

    def _write(self, path: Path, rows: pa.RecordBatch) -> int:
        def write(part: Path) -> None:
            with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_batch(rows)

        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, write)
        return int(rows.num_rows)

    def _check_disk(self, needed: float) -> None:
        """Refuse what cannot fit before all else is written; how wide rows are, the first partition tells."""
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            text = f"the disk has {told_bytes(free)} free, it needs about {told_bytes(needed)} more"
            raise OSError(errno.ENOSPC, text)


def partition_file(folder: Path, version: str, partition: Partition) -> Path:
    """Path of a partition's file in a side copy.

    Each version of a copy has paths of its own. When another version is written over a copy, file by file, no file that
    somebody has mapped is written to: that would change what they read, or end their process.
    """
    order, pixel = partition
    tag = hashlib.sha256(version.encode()).hexdigest()[:16]
    return folder / f"{tag}/Norder={order}/Dir={pixel // 10_000 * 10_000}/Npix={pixel}{SUFFIX}"


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that only a whole one, on disk, ever has its name."""
    part = path.with_name(f"{path.name}.part")
    write(part)
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(path)


def read_file(path: Path) -> pa.RecordBatch:
    # Not Arrow's own map of a file, which has the system read all of it ahead, whatever is asked of it.
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
    if reader.num_record_batches != 1:
        raise pa.ArrowInvalid(f"it has {reader.num_record_batches} record batches, not one")
    rows = reader.get_batch(0)
    rows.validate()
    for column in rows.columns:
        _require_structure(column)
    return rows


_AS_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}


def _require_structure(column: pa.Array) -> None:
    """Refuse what would end the process as soon as a row of it is taken: wrong offsets of texts, above all.

    Numbers are not looked at, nor what texts say, of which a stream uses few: to read them all takes most of the time
    that a first batch waits for files.
    """
    if column.type in _AS_BYTES:
        column.view(_AS_BYTES[column.type]).validate(full=True)
    elif not pa.types.is_primitive(column.type):
        column.validate(full=True)


def words(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
