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

from xmatch_hats.alerts.names import NameBook
from xmatch_hats.alerts.sources import ARCHIVE_SUFFIXES, OTHER_SUFFIXES
from xmatch_hats.errors import UsageError, XmatchError

GZIP_LEVEL = 3
"""Packets are mostly images that are compressed already; what gains is the schema that each repeats, and a low level
finds that too. Measured on real ZTF packets: within 2 % of the size of level 6, a sixth faster."""


class Sink(Protocol):
    """Takes packets by name."""

    def write(self, name: str, data: bytes, modified: int) -> str:
        """Write a packet and give the name that it got; `modified` is in seconds since 1970."""

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
        self._made: set[Path] = set()

    def write(self, name: str, data: bytes, modified: int) -> str:
        """Write a packet; its time is the source's, as in an archive."""
        name = self._names.claim(name)
        path = self._stage / name
        with _writing(self._out):
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            path.write_bytes(data)
            os.utime(path, (modified, modified))
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
        self._stream: IO[bytes] = self._file
        if not out.name.lower().endswith(".tar"):
            self._stream = gzip.GzipFile("", "wb", GZIP_LEVEL, self._file, mtime=0)  # type: ignore[assignment]

    def write(self, name: str, data: bytes, modified: int) -> str:
        """Append a packet."""
        member = tarfile.TarInfo(self._names.claim(name))
        member.size, member.mtime = len(data), modified
        with _writing(self._out):
            # Not through the library's archive object, which keeps a kilobyte of every member it has written.
            self._stream.write(member.tobuf())
            self._stream.write(data)
            self._stream.write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return member.name

    def finish(self) -> None:
        """Close the archive, its last byte on disk."""
        if self._file.closed:
            return
        with _writing(self._out):
            self._stream.write(bytes(2 * tarfile.BLOCKSIZE))
            if self._stream is not self._file:
                self._stream.close()
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
        for file in (self._stream, self._file):
            # Closing writes what is left, which a full disk refuses once more.
            with suppress(OSError):
                file.close()
        self._stage.unlink(missing_ok=True)


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
