"""Where packets come from: files, folders and tar archives, one packet after the other, in a fixed order.

A folder gives its files, sorted by path, a tar archive its members in their order, straight from the stream: nothing is
unpacked to disk. Archives within folders are read as archives. Every regular file is taken for a packet, and one that
is none is rejected with a reason; only what is hidden (``.name``), a device, or a link that leads to no file, is passed
over, and counted.
"""

from __future__ import annotations

import errno
import gzip
import logging
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from xmatch_hats.alerts.archive import TAR_FAULTS, ForwardStream, member_bytes, next_member, open_forward, require_size
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.names import is_hidden, safe_name
from xmatch_hats.errors import PacketError, UsageError, XmatchError

logger = logging.getLogger(__name__)

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
OTHER_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tbz", ".tbz2", ".txz", ".7z")
_PIECE_BYTES = 1 << 20
_LATEST = (1 << 33) - 1
"""The latest moment that a tar header can tell without an extension, in seconds since 1970."""


@dataclass(frozen=True)
class RawPacket:
    """A packet that has not been read yet; it can be until the next one is asked for."""

    name: str
    """Relative name that its output gets."""
    source: str
    """Where it is, for people: a path, or an archive and the member in it."""
    modified: int
    """Seconds since 1970."""
    read: Callable[[], bytes]
    """Gives its bytes; PacketError if they cannot be had or are more than may be read."""


class PacketSources:
    """The packets of files, folders and archives.

    Parameters
    ----------
    paths : iterable of Path or str
    max_bytes : int, optional
        Size of the largest packet that is read into memory.

    Attributes
    ----------
    skipped : int
        Files and folders passed over so far: hidden ones, links that lead to no file, devices.

    Raises
    ------
    UsageError
        No path, or one that does not exist or is neither a file nor a folder.
    """

    def __init__(self, paths: Iterable[Path | str], max_bytes: int = FILE_LIMITS.file_bytes) -> None:
        self.paths = [Path(path) for path in paths]
        self.skipped = 0
        self._max_bytes = max_bytes
        if not self.paths:
            raise UsageError("no packets are given", hint="name files, folders or tar archives")
        for path in self.paths:
            _require_readable(path)

    def __iter__(self) -> Iterator[RawPacket]:
        for path in self.paths:
            if path.is_dir():
                yield from self._folder(path)
            else:
                yield from self._entry(str(path), safe_name(path.name), "", _state(str(path)))

    def _folder(self, folder: Path) -> Iterator[RawPacket]:
        for root, folders, files in os.walk(folder, onerror=_unreadable):
            passed = {name for name in folders if is_hidden(name) or Path(root, name).is_symlink()}
            for name in sorted(passed):
                self._skip(str(Path(root, name)))
            # In place: os.walk then enters them in this order.
            folders[:] = sorted(set(folders) - passed)
            # Text where paths would do, which cost as much as reading the packet.
            here, below = (str(Path(place, "x"))[:-1] for place in (root, Path(root).relative_to(folder)))
            for file in sorted(files):
                state = None if is_hidden(file) else _state(here + file)
                if state is None or not stat.S_ISREG(state.st_mode):
                    self._skip(here + file)
                else:
                    name = safe_name(below + file)
                    yield from self._entry(here + file, name, f"{_without_suffix(name)}/", state)

    def _entry(self, path: str, name: str, prefix: str, state: os.stat_result | None) -> Iterator[RawPacket]:
        modified, size = (0, 0) if state is None else (_moment(state.st_mtime), state.st_size)
        if _is_archive(path):
            yield from self._archive(path, name, prefix, modified)
        elif path.lower().endswith(OTHER_SUFFIXES):
            reason = f"is compressed or an archive of a kind that is not read; {', '.join(ARCHIVE_SUFFIXES)} are"
            yield RawPacket(name, path, modified, _raiser(reason))
        else:
            yield RawPacket(name, path, modified, lambda: self._read(path, size))

    def _read(self, path: str, size: int) -> bytes:
        """Read a file that had so many bytes a moment ago."""
        require_size(size, self._max_bytes)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _read_all(file, size, self._max_bytes)
            finally:
                os.close(file)
        except OSError as error:
            raise PacketError(f"cannot be read: {error.strerror}") from error

    def _archive(self, path: str, name: str, prefix: str, modified: int) -> Iterator[RawPacket]:
        members = 0
        try:
            with _open_stream(path) as file:
                stream = ForwardStream(file)
                with open_forward(stream) as tar:
                    while (member := next_member(tar, stream)) is not None:
                        members += 1
                        if member.isreg() and not is_hidden(member.name):
                            yield tar_packet(path, tar, member, stream, prefix, self._max_bytes)
                        elif not member.isdir():
                            self._skip(f"{path}::{member.name}")
                stream.require_end()
        except TAR_FAULTS as error:
            reason = f"is damaged after {members} members, what follows is lost: {error or type(error).__name__}"
            yield RawPacket(name, path, modified, _raiser(reason))

    def _skip(self, source: str) -> None:
        self.skipped += 1
        logger.info("passed over, not a regular visible file: %r", source)


def tar_packet(
    place: str, tar: tarfile.TarFile, member: tarfile.TarInfo, stream: ForwardStream, prefix: str, max_bytes: int
) -> RawPacket:
    """Make a packet of the member of an archive that was met last.

    Parameters
    ----------
    place : str
        The archive, for people.
    tar, member, stream
        What `next_member` was given, and gave.
    prefix : str
        Goes before its name.
    max_bytes : int
        Size of the largest packet that is read into memory.
    """
    source = f"{place}::{member.name}".encode("utf-8", "replace").decode()
    name = prefix + safe_name(member.name)
    return RawPacket(name, source, _moment(member.mtime), lambda: member_bytes(tar, member, stream, max_bytes))


def _require_readable(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise UsageError("does not exist", place=path, value=str(path)) from error
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", place=path, value=str(path)) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UsageError("is neither a file nor a folder", place=path, value=str(path))


def is_small(paths: Iterable[Path], max_bytes: int) -> bool:
    """Whether files and folders hold less than so many bytes together; what cannot be seen counts nothing."""
    total = 0
    for path in paths:
        inside = (os.path.join(root, file) for root, _, names in os.walk(path) for file in names)
        for file in inside if os.path.isdir(path) else (path,):
            total += os.path.getsize(file) if os.path.isfile(file) else 0
            if total >= max_bytes:
                return False
    return True


def _open_stream(path: str) -> IO[bytes]:
    with open(path, "rb") as file:
        magic = file.read(2)
    return gzip.open(path) if magic == b"\x1f\x8b" else open(path, "rb", _PIECE_BYTES)  # type: ignore[return-value]


def _unreadable(error: OSError) -> None:
    raise XmatchError(f"the folder cannot be read: {error.strerror}", place=error.filename) from error


def _raiser(reason: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise PacketError(reason)

    return read


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def _without_suffix(name: str) -> str:
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _state(path: str) -> os.stat_result | None:
    """What a path leads to, None for a link that leads nowhere."""
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            _unreadable(error)
        return None


def _read_all(file: int, size: int, max_bytes: int) -> bytes:
    """Read a file in one piece where it has as many bytes as expected."""
    data = os.read(file, size + 1)
    if len(data) == size:
        return data
    pieces = [data]
    while piece := os.read(file, _PIECE_BYTES):
        pieces.append(piece)
        require_size(sum(map(len, pieces)), max_bytes)
    return b"".join(pieces)


def _moment(seconds: float) -> int:
    # Archives claim times as text: infinite, negative, or not a number, as it may be.
    return int(seconds) if 0 <= seconds <= _LATEST else 0
