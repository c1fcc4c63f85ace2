"""Where packets go: a folder or a tar archive, written aside and given its name when it is whole."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from xmatch_hats.alerts.archive import member_header
from xmatch_hats.alerts.names import NameBook
from xmatch_hats.alerts.sources import ARCHIVE_SUFFIXES, OTHER_SUFFIXES
from xmatch_hats.alerts.splice import Chunks
from xmatch_hats.errors import UsageError, XmatchError

GZIP_LEVEL = 3
"""Packets are mostly images that are compressed already; what gains is the schema that each repeats, and a low level
finds that too. Measured on real ZTF packets: within 2 % of the size of level 6, a sixth faster."""

_MAX_CHUNKS = 1024
"""What systems take in one call."""
_MEMBER_CHUNKS = 24
"""More than nearly all packets come in."""
_WRITE_BYTES, _FLUSH_BYTES = 1 << 20, 32 << 20


class Sink(Protocol):
    """Takes packets by name."""

    def write(self, name: str, chunks: Chunks, modified: int) -> str:
        """Write a packet, in pieces, and give the name that it got; `modified` is in seconds since 1970."""

    def finish(self) -> None:
        """Write what is outstanding, so that only the name is left to give."""

    def commit(self) -> None:
        """Finish, and give the whole its name."""

    def abort(self) -> None:
        """Leave nothing behind."""


def open_sink(out: Path) -> Sink:
    """Open an output by its name: a tar archive if it ends like one, else a folder.

    Raises
    ------
    UsageError
        It exists already, or is to be compressed in a way that is not written.
    """
    if out.name.lower().endswith(OTHER_SUFFIXES) and not _is_archive(out):
        hint = f"give a folder, or an archive ending in {', '.join(ARCHIVE_SUFFIXES)}"
        raise UsageError("ends like an archive of a kind that is not written", place=out, hint=hint, value=str(out))
    return TarSink(out) if _is_archive(out) else FolderSink(out)


class FolderSink:
    """A folder of packets, which appears with its last packet; it is made with the first.

    Parameters
    ----------
    out : Path
        A folder that does not exist, or is empty.
    """

    def __init__(self, out: Path) -> None:
        _require_free(out)
        self._out = out
        self._stage = _stage(out)
        self._names = NameBook()
        self._made: set[str] = set()

    def write(self, name: str, chunks: Chunks, modified: int) -> str:
        """Write a packet; its time is the source's, as in an archive."""
        name = self._names.claim(name)
        folder = name.rpartition("/")[0]
        with _writing(self._out):
            if folder not in self._made:
                (self._stage / folder).mkdir(parents=True, exist_ok=True)
                self._made.add(folder)
            # Not through the library's file objects: they cost more than the system's calls.
            file = os.open(f"{self._stage}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                _write_all(file, chunks)
                os.utime(file, (modified, modified))
            finally:
                os.close(file)
        return name

    def finish(self) -> None:
        """Make the folder if no packet did."""
        with _writing(self._out):
            self._stage.mkdir(parents=True, exist_ok=True)

    def commit(self) -> None:
        """Rename the folder to its name; without packets it is empty."""
        self.finish()
        with _writing(self._out):
            self._stage.rename(self._out)

    def abort(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._stage, ignore_errors=True)


class TarSink:
    """A tar archive, compressed if its name says so; the same packets give the same bytes.

    Parameters
    ----------
    out : Path
        A file that does not exist, ending in ``.tar``, ``.tar.gz`` or ``.tgz``.
    """

    def __init__(self, out: Path) -> None:
        _require_free(out)
        self._out = out
        self._stage = _stage(out)
        self._names = NameBook()
        with _writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = self._stage.open("xb")
        self._waiting: Chunks = []
        self._waiting_bytes = 0
        self._written = self._flushed = 0
        self._gzip = None
        if not out.name.lower().endswith(".tar"):
            self._gzip = gzip.GzipFile("", "wb", GZIP_LEVEL, self._file, mtime=0)

    def write(self, name: str, chunks: Chunks, modified: int) -> str:
        """Append a packet."""
        # Not through the library's archive object, which keeps a kilobyte of every member it has written.
        name, size = self._names.claim(name), sum(map(len, chunks))
        self._append([member_header(name, size, modified), *chunks, bytes(-size % tarfile.BLOCKSIZE)])
        return name

    def _append(self, chunks: Chunks) -> None:
        if self._gzip is not None:
            with _writing(self._out):
                self._gzip.writelines(chunks)
            return
        # Many packets in one call: after each call a thread waits for Python's lock, longer than the call takes.
        self._waiting += chunks
        self._waiting_bytes += sum(map(len, chunks))
        if self._waiting_bytes >= _WRITE_BYTES or len(self._waiting) >= _MAX_CHUNKS - _MEMBER_CHUNKS:
            self._write_waiting()

    def _write_waiting(self) -> None:
        chunks, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not chunks:
            return  # Not every system takes none.
        with _writing(self._out):
            self._written += _write_all(self._file.fileno(), chunks)
            if self._written - self._flushed >= _FLUSH_BYTES and hasattr(os, "posix_fadvise"):
                # Has the system write to disk what is there, which it leaves until the end otherwise.
                span = (self._flushed, self._written - self._flushed)
                os.posix_fadvise(self._file.fileno(), *span, os.POSIX_FADV_DONTNEED)
                self._flushed = self._written

    def finish(self) -> None:
        """Close the archive, its last byte on disk."""
        if self._file.closed:
            return
        self._append([bytes(2 * tarfile.BLOCKSIZE)])
        self._write_waiting()
        with _writing(self._out):
            if self._gzip is not None:
                self._gzip.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def commit(self) -> None:
        """Rename the archive to its name."""
        self.finish()
        with _writing(self._out):
            self._stage.rename(self._out)

    def abort(self) -> None:
        """Remove what was written."""
        for file in (self._gzip, self._file):
            # Closing writes what is left, which a full disk refuses once more.
            with suppress(OSError):
                if file is not None:
                    file.close()
        self._stage.unlink(missing_ok=True)


def _write_all(file: int, chunks: Chunks) -> int:
    """Write pieces, without putting them together first, and tell how many bytes they had."""
    if len(chunks) > _MAX_CHUNKS:
        chunks = [b"".join(chunks)]
    size, written = sum(map(len, chunks)), os.writev(file, chunks)
    if written < size:
        # What stopped it, a full disk for instance, is told when the rest is tried.
        data = memoryview(b"".join(chunks))
        while written < size:
            written += os.write(file, data[written:])
    return size


def _require_free(out: Path) -> None:
    with _writing(out):
        taken = any(out.iterdir()) if out.is_dir() and not _is_archive(out) else out.exists() or out.is_symlink()
    if taken:
        raise UsageError("exists already", place=out, hint="remove it, or write elsewhere", value=str(out))


def _is_archive(out: Path) -> bool:
    return out.name.lower().endswith(ARCHIVE_SUFFIXES)


def _stage(out: Path) -> Path:
    # Beside it, so that the rename stays within one file system; hidden, so that no reader of the folder takes it up.
    return out.with_name(f".{out.name}.partial-{secrets.token_hex(4)}")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise XmatchError(f"cannot be written: {error.strerror or error}", place=out) from error
