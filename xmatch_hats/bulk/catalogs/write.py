"""The files of partitions, written row group by row group; the same rows give the same bytes."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from xmatch_hats.catalogs.encodings import encodings
from xmatch_hats.whole import written_whole

ROW_GROUP_ROWS = 65_536
"""Small enough to read a part of the sky alone, large enough for dictionaries to pay."""

COMPRESSION: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
"""With the encodings chosen here level 3 gives the same bytes and takes half as long again."""


@dataclass(frozen=True)
class Written:
    """A file that was written."""

    rows: int
    bytes: int
    sha256: str


class TableWriter:
    """Writes a table to a file that appears when it is closed well, whole and on the disk, or never.

    However its rows come, they are cut into the same row groups. A file without rows is not written.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
    scratch : Path
        Folder of the same file system for what is not whole.

    Raises
    ------
    OutputError
        From every method: it cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema, scratch: Path) -> None:
        self._path, self._schema, self._scratch = path, schema, scratch
        self._stack = ExitStack()
        self._waiting: list[pa.Table] = []
        self._held = 0
        self._rows = 0
        self._file: _HashedFile | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Add rows."""
        self._waiting.append(table)
        self._held += len(table)
        while self._held >= ROW_GROUP_ROWS:
            self._write_group(ROW_GROUP_ROWS)

    def close(self) -> Written | None:
        """Finish the file; None where there are no rows, and no file."""
        if self._held:
            self._write_group(self._held)
        if self._writer is None or self._file is None:
            return None
        self._writer.close()
        self._stack.close()
        return Written(self._rows, self._file.bytes, self._file.sha256)

    def abandon(self, error: BaseException) -> None:
        """Leave nothing behind, as there was an error."""
        if self._writer is not None and self._file is not None:
            # Arrow closes its writer at some time, which writes.
            self._file.is_abandoned = True
            with suppress(pa.ArrowException, OSError):
                self._writer.close()
            self._stack.__exit__(type(error), error, error.__traceback__)

    def _write_group(self, rows: int) -> None:
        table = pa.concat_tables(self._waiting)
        # One chunk, so that pages are cut alike however the rows came.
        group = table.slice(0, rows).combine_chunks()
        self._waiting = [table.slice(rows)] if rows < len(table) else []
        self._held -= rows
        self._rows += rows
        if self._writer is None:
            self._file = _HashedFile(self._stack.enter_context(written_whole(self._path, self._scratch)))
            self._writer = pq.ParquetWriter(self._file, self._schema, **COMPRESSION, **encodings(group))
        self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)


class _HashedFile:
    """A file whose checksum is known when it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0
        self.closed = False
        self.is_abandoned = False
        """Whether what is written does not matter any more."""

    def write(self, data: Any) -> int:
        """Write, as files do."""
        self._digest.update(data)
        size = len(memoryview(data).cast("B"))
        self.bytes += size
        if not self.is_abandoned:
            self._file.write(data)
        return size

    def flush(self) -> None:
        """Nothing: it is flushed when it is whole."""

    def tell(self) -> int:
        """Tell the position, as files do."""
        return self.bytes

    def close(self) -> None:
        """Nothing: who opened the file closes it."""

    def readable(self) -> bool:
        """It is not."""
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is not."""
        return False

    @property
    def sha256(self) -> str:
        """Checksum of all that was written, hexadecimal."""
        return self._digest.hexdigest()
