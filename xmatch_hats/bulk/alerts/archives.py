"""Archives of alert packets: where they are, which night they are of, and their bytes."""

from __future__ import annotations

import re
import stat
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from xmatch_hats.alerts.sources import ARCHIVE_SUFFIXES
from xmatch_hats.errors import UsageError, XmatchError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.remote import RemoteStore, Retry

RANGE_BYTES = 8 << 20
"""What is asked of a server at once; while it is worked on, the next is on its way."""
_NIGHT = re.compile(r"(?<!\d)(\d{8})(?!\d)")
_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


class ArchiveBytes(Protocol):
    """Bytes of an archive, read forward."""

    def read(self, size: int) -> bytes:
        """Give the next bytes, at least one but at the end.

        Raises
        ------
        XmatchError
            They cannot be had.
        """

    def close(self) -> None:
        """Give up what is under way."""


@dataclass(frozen=True)
class Archive:
    """One archive, as it was when it was opened."""

    place: str
    """Path or URL."""
    stem: str
    """Its name without suffixes, which names its output."""
    night: str
    """YYYYMMDD."""
    size: int
    """Bytes."""
    state: str
    """What tells one version of it from another."""
    retry: Retry | None = None
    can_seek: bool = True
    """Whether reading can begin anywhere in it; some servers only give whole files."""

    def open(self, position: int = 0) -> ArchiveBytes:
        """Read from a position on; `can_seek` tells whether it may be another one than 0.

        Raises
        ------
        XmatchError
            It cannot be read.
        """
        if "://" not in self.place:
            return _LocalBytes(self.place, position)
        store, name = _store(self.place, self.retry)
        if self.can_seek:
            return _RemoteBytes(store, name, position, self.size)
        return store.open_stream(name, self.size)

    def require_unchanged(self) -> None:
        """Refuse an archive that is no longer the one that was opened.

        Raises
        ------
        XmatchError
        """
        if open_archive(self.place, self.night, self.retry).state != self.state:
            raise XmatchError(
                "changed while it was read", place=self.place, hint="run the same command again: it starts anew"
            )


def open_archives(places: Sequence[str], night: str | None = None, retry: Retry | None = None) -> list[Archive]:
    """Find archives and the nights they are of.

    Parameters
    ----------
    places : sequence of str
        Paths and URLs of ``.tar.gz``, ``.tgz`` and ``.tar`` files.
    night : str, optional
        YYYYMMDD, for archives whose names tell none.
    retry : Retry, optional
        How failed reads over a network are tried again.

    Raises
    ------
    UsageError
        None is given, one does not exist or is no archive, tells no night, or two would have the same output.
    RemoteError
        A server cannot be reached, or does not have it.
    """
    if not places:
        raise UsageError("no archive is given", hint="name .tar.gz files, or their URLs")
    if night is not None and not _is_date(night):
        raise UsageError(f"{night} is not a night", place="--night", hint="write it as YYYYMMDD", value=night)
    archives = [open_archive(place, night, retry) for place in places]
    twice = [key for key, count in Counter((found.night, found.stem) for found in archives).items() if count > 1]
    if twice:
        raise UsageError(f"two archives of night {twice[0][0]} are called {twice[0][1]}", hint="rename one of them")
    return archives


def open_archive(place: str, night: str | None = None, retry: Retry | None = None) -> Archive:
    """Find one archive; see `open_archives`."""
    name = place.rstrip("/").rsplit("/", 1)[-1]
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), None)
    if suffix is None:
        known = ", ".join(ARCHIVE_SUFFIXES)
        raise UsageError("is not the name of an archive", place=place, hint=f"they end in {known}", value=place)
    stem = name[: -len(suffix)]
    if not _STEM.fullmatch(stem):
        hint = "rename it: letters, digits and _ . + - go into the name of its output"
        raise UsageError(f"{stem!r} cannot name an output", place=place, hint=hint, value=stem)
    found = next((digits for digits in _NIGHT.findall(stem) if _is_date(digits)), night)
    if found is None:
        if "://" not in place and not Path(place).expanduser().exists():
            raise UsageError("does not exist", place=place, value=place)
        raise UsageError("its name tells no night", place=place, hint="give --night YYYYMMDD", value=place)
    if "://" in place:
        store, name = _store(place, retry)
        state = store.state(name)
        can_seek = state.size > 0 and store.takes_ranges(name)
        return Archive(place, stem, found, state.size, f"{state.size} {state.tag}", retry, can_seek)
    path = Path(place).expanduser().absolute()
    try:
        status = path.stat()
    except OSError as error:
        words = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise UsageError(words, place=path, value=place) from error
    if not stat.S_ISREG(status.st_mode):
        raise UsageError("is not a file", place=path, value=place)
    return Archive(str(path), stem, found, status.st_size, f"{status.st_size} {status.st_mtime_ns}")


def _is_date(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return len(digits) == 8 and digits.isascii()


def _store(place: str, retry: Retry | None) -> tuple[RemoteStore, str]:
    from xmatch_hats.catalogs.remote import RemoteStore

    folder, _, name = place.rpartition("/")
    return RemoteStore(folder, retry), name


class _LocalBytes:
    def __init__(self, path: str, position: int) -> None:
        self._path = path
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115, closed by close
            self._file.seek(position)
        except OSError as error:
            raise self._failure(error) from error

    def read(self, size: int) -> bytes:
        try:
            return self._file.read(size) or b""
        except OSError as error:
            # The disk's fault, and none of the archive's.
            raise self._failure(error) from error

    def close(self) -> None:
        self._file.close()

    def _failure(self, error: OSError) -> XmatchError:
        return XmatchError(f"cannot be read: {error.strerror or error}", place=self._path)


class _RemoteBytes:
    """Ranges of a remote file, one ahead of the reader."""

    def __init__(self, store: RemoteStore, name: str, position: int, size: int) -> None:
        self._store, self._name, self._size = store, name, size
        self._next = position
        self._data = b""
        self._pool = ThreadPoolExecutor(1, "xmatch-hats-range")
        self._coming: Future[bytes] | None = None
        self._ask()

    def read(self, size: int) -> bytes:
        if not self._data and self._coming is not None:
            self._data = self._coming.result()
            self._ask()
        given, self._data = self._data[:size], self._data[size:]
        return given

    def close(self) -> None:
        self._store.give_up()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> None:
        start, self._next = self._next, min(self._next + RANGE_BYTES, self._size)
        wanted = start < self._next
        self._coming = self._pool.submit(self._store.read_range, self._name, start, self._next) if wanted else None
