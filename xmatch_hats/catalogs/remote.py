"""Bytes from afar: ranges of files over https, anonymous s3 or a path, retried, counted and never cached.

A read gives exactly the bytes that were asked for, or an error: proxies, stores and libraries all at times return fewer
without a word.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import stamina

from xmatch_hats.catalogs.remote_faults import (
    WrongLengthError,
    failures,
    is_denial,
    is_transient,
    reason_of,
    translated,
)
from xmatch_hats.errors import RemoteError, UsageError

if TYPE_CHECKING:
    from upath import UPath

T = TypeVar("T")

_log = logging.getLogger(__name__)

CONNECT_SECONDS, SILENCE_SECONDS = 20.0, 60.0
"""A server that does not answer, or says nothing for so long, has failed. There is no bound on a whole transfer."""
_SKIP_BYTES = 1 << 20
_PATIENCE = 2
"""Failures of one read that nobody needs to hear of."""
_NETWORK = frozenset({"http", "https", "s3"})
"""Schemes whose URLs begin with a host or bucket."""


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a failed read is tried again: exponential back-off with jitter."""

    attempts: int = 8
    wait_initial_s: float = 0.5
    wait_max_s: float = 30.0

    def trials(self, on: Any, attempts: int | None = None) -> Any:
        """Attempts as `stamina.retry_context` gives them: ``for trial in ...: with trial: return ...``."""
        return stamina.retry_context(
            on=on,
            attempts=attempts or self.attempts,
            timeout=None,
            wait_initial=self.wait_initial_s,
            wait_max=self.wait_max_s,
            wait_jitter=self.wait_initial_s,
        )


@dataclass(frozen=True)
class FileState:
    """What tells one version of a remote file from another."""

    size: int
    """Bytes."""
    tag: str
    """ETag, else time of last change, else empty."""


class RemoteStore:
    """A folder behind a URL.

    Parameters
    ----------
    url : str or path-like
        ``https://``, ``http://``, ``s3://`` (anonymous; ``AWS_ENDPOINT_URL`` names another store than Amazon's),
        ``file://``, a path, another scheme that fsspec knows, or a `upath.UPath`, whose own settings are used if it has
        any.
    retry : Retry, optional

    Raises
    ------
    UsageError
        The URL is empty, has a query, or a scheme that nothing installed can read.
    RemoteError
        It cannot be reached.
    """

    def __init__(self, url: str | os.PathLike[str], retry: Retry | None = None) -> None:
        self.retry = retry or Retry()
        self.url, root = _rooted(url)
        try:
            self._fs: Any = root.fs
        except (ValueError, ImportError) as error:
            raise UsageError(f"nothing installed can read this URL: {error}", place=self.url) from error
        except OSError as error:
            # Some file systems connect when they are made.
            raise RemoteError(f"cannot be reached: {error}", place=self.url) from error
        self._root = str(root.path).rstrip("/")
        self._given_up = threading.Event()

    @property
    def given_up(self) -> bool:
        """Whether `give_up` was called."""
        return self._given_up.is_set()

    def give_up(self) -> None:
        """Let reads under way in other threads fail at their next fault, rather than try again."""
        self._given_up.set()

    def __str__(self) -> str:
        return self.url

    def path(self, relative: str) -> str:
        """URL of a file below, for people."""
        return f"{self.url}/{relative}"

    def sibling(self, reference: str) -> str:
        """URL that a reference in a file of this folder means."""
        if urlsplit(self.url).scheme in ("http", "https"):
            return urljoin(f"{self.url}/", reference)
        return reference if "://" in reference or reference.startswith("/") else self.path(reference)

    def state(self, relative: str) -> FileState:
        """Size and version of a file.

        Raises
        ------
        RemoteError
            There is no such file, it may not be read, or the server does not tell its size.
        """
        info = self._tried(relative, lambda path: self._info(path))
        size = info.get("size")
        if size is None:
            raise RemoteError(
                "the server does not tell the size of the file", place=self.path(relative), hint="try a mirror"
            )
        tag = next((info[key] for key in ("ETag", "etag", "LastModified", "Last-Modified", "mtime") if key in info), "")
        return FileState(int(size), str(tag))

    def read(self, relative: str) -> bytes:
        """All of a small file."""

        def attempt(path: str) -> bytes:
            size = self._info(path).get("size")
            data: bytes = self._fs.cat_file(path)
            if size is not None and len(data) != size:
                raise WrongLengthError(f"{len(data)} bytes came instead of {size}")
            return data

        return self._tried(relative, attempt)

    def read_if_there(self, relative: str) -> bytes | None:
        """All of a small file, None if there is none.

        A store that nobody may list denies access to what it does not have, so a denial means "none", too.
        """
        try:
            return self.read(relative)
        except RemoteError as error:
            if isinstance(error.__cause__, FileNotFoundError) or is_denial(error.__cause__):
                return None
            raise

    def read_range(self, relative: str, start: int, end: int) -> bytes:
        """Exactly the bytes from `start` up to `end` of a file.

        Raises
        ------
        RemoteError
            They cannot be had.
        """

        def attempt(path: str) -> bytes:
            data: bytes = self._fs.cat_file(path, start=start, end=end)
            if len(data) != end - start:
                raise WrongLengthError(f"{len(data)} bytes came instead of {end - start}")
            return data

        return self._tried(relative, attempt)

    def gives_ranges(self, relative: str) -> bool:
        """Whether the server gives a part of a file, not the whole, when asked for one; told by a small file."""
        return len(self._tried(relative, lambda path: self._fs.cat_file(path, start=0, end=1))) == 1

    def takes_ranges(self, relative: str) -> bool:
        """Whether a part of a file can be had by itself, asked without reading any; some http servers give it whole.

        Raises
        ------
        RemoteError
            The server does not answer, or has no such file.
        """
        if urlsplit(self.url).scheme not in ("http", "https"):
            return True

        def attempt(path: str) -> bool:
            with self._fs.open(path, block_size=0, size=1, headers={"Range": "bytes=0-0"}) as file:
                return bool(file.r.status == 206)

        return self._tried(relative, attempt)

    def open_stream(self, relative: str, size: int) -> RemoteStream:
        """Read a file of so many bytes from its beginning, where a server takes no ranges."""
        return RemoteStream(self, relative, size)

    def _piece(self, relative: str, stream: RemoteStream, size: int) -> bytes:
        def attempt(path: str) -> bytes:
            return stream.attempt(self._fs, path, size)

        return self._tried(relative, attempt)

    def download(self, relative: str, target: Path, size: int) -> None:
        """Copy a whole file, `size` bytes, without holding it in memory.

        Raises
        ------
        RemoteError
            It cannot be had in this size.
        """

        def attempt(path: str) -> None:
            self._fs.get_file(path, str(target))
            if target.stat().st_size != size:
                raise WrongLengthError(f"{target.stat().st_size} bytes came instead of {size}")

        self._tried(relative, attempt)

    def list(self, relative: str) -> list[str]:
        """Names in a folder, sorted."""
        found = self._tried(relative, lambda path: self._fs.ls(path, detail=False))
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in found)

    def _info(self, path: str) -> dict[str, Any]:
        # A cached answer would hide that the file has changed.
        self._fs.invalidate_cache()
        try:
            info: dict[str, Any] = self._fs.info(path)
        except FileNotFoundError as error:
            # fsspec says so of a busy server, too; the cause tells what it was.
            if isinstance(error.__cause__, Exception) and getattr(error.__cause__, "status", None) != 404:
                raise error.__cause__ from None
            raise
        if info.get("type") == "directory":
            raise FileNotFoundError(path)
        return info

    def _tried(self, relative: str, attempt: Callable[[str], T]) -> T:
        path = f"{self._root}/{relative}" if relative else self._root
        faults = failures()
        try:
            for trial in self.retry.trials(lambda error: not self.given_up and is_transient(error)):
                if trial.num > _PATIENCE + 1:
                    _log.warning("%s: attempt %d of %d", self.path(relative), trial.num, self.retry.attempts)
                with trial:
                    return translated(attempt, path)
        except faults as error:
            raise self._explained(relative, error) from error
        raise RemoteError("was not tried", place=self.path(relative))

    def _explained(self, relative: str, error: Exception) -> RemoteError:
        place = self.path(relative) if relative else self.url
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            return RemoteError("there is no such file", place=place)
        if is_denial(error):
            return RemoteError("access is denied", place=place, hint="only public catalogues can be pulled")
        if not is_transient(error):
            return RemoteError(f"cannot be read: {reason_of(error)}", place=place)
        return RemoteError(
            f"cannot be read after {self.retry.attempts} attempts: {reason_of(error)}",
            place=place,
            hint="run the same command again later: it resumes",
        )


class RemoteStream:
    """A remote file, read forward in one request; where that breaks, another one reads anew what was read before."""

    def __init__(self, store: RemoteStore, relative: str, size: int) -> None:
        self._store, self._relative, self._size = store, relative, size
        self._position = 0
        self._file: Any = None

    def read(self, size: int) -> bytes:
        """Give the next bytes, at least one but at the end.

        Raises
        ------
        RemoteError
            They cannot be had.
        """
        if self._position == self._size:
            return b""
        data = self._store._piece(self._relative, self, size)
        self._position += len(data)
        return data

    def attempt(self, fs: Any, path: str, size: int) -> bytes:
        """Read once, in a new request where there is none."""
        try:
            if self._file is None:
                self._file = fs.open(path, block_size=0, size=self._size)
                while self._file.tell() < self._position:
                    self._some(min(_SKIP_BYTES, self._position - self._file.tell()))
            return self._some(size)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Give up the request."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _some(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        if not data:
            raise WrongLengthError(f"{self._file.tell()} bytes came instead of {self._size}")
        return data


def _rooted(url: str | os.PathLike[str]) -> tuple[str, UPath]:
    """The URL or absolute path of a folder in plain form, and where it is in its file system."""
    from upath import UPath

    own = url.storage_options if isinstance(url, UPath) else {}
    text = str(url)
    if not text:
        raise UsageError("the URL of the catalogue is empty", hint="give https://, s3:// or a path")
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon or scheme == "file":
        path = Path(unquote(rest) if colon else text).expanduser().absolute()
        return str(path), UPath(str(path))
    text = f"{scheme}://{rest}".rstrip("/")
    if scheme in _NETWORK and not urlsplit(text).netloc:
        raise UsageError("the URL names no host or bucket", place=url)
    if scheme != "s3" and scheme in _NETWORK and (urlsplit(text).query or urlsplit(text).fragment):
        raise UsageError("the URL of a catalogue has no query part and no #", place=url, hint="give its folder")
    try:
        return text, UPath(text, **(own or _options(scheme)))
    except (ValueError, ImportError) as error:
        raise UsageError(f"nothing installed can read this URL: {error}", place=url) from error


def _options(scheme: str) -> dict[str, Any]:
    if scheme in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        # Compressed on the way, a range would be one of something else.
        headers = {"Accept-Encoding": "identity"}
        return {"client_kwargs": {"timeout": timeout, "headers": headers, "trust_env": True}}
    if scheme == "s3":
        config = {"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENCE_SECONDS}
        return {"anon": True, "use_listings_cache": False, "config_kwargs": config}
    return {}
