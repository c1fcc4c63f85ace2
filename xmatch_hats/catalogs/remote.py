"""Bytes from afar: ranges of files over https, anonymous s3 or a path, retried, counted and never cached.

A read gives exactly the bytes that were asked for, or an error: proxies, stores and libraries all at times return fewer
without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import stamina

from xmatch_hats.errors import RemoteError, UsageError

T = TypeVar("T")

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that mean "not now" rather than "no"."""
CONNECT_SECONDS, SILENCE_SECONDS = 20.0, 60.0
"""A server that does not answer, or says nothing for so long, has failed. There is no bound on a whole transfer."""


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


class _WrongLengthError(OSError):
    """Not as many bytes as were asked for."""


class RemoteStore:
    """A folder behind a URL.

    Parameters
    ----------
    url : str
        ``https://``, ``http://``, ``s3://`` (anonymous), ``file://``, a path, or another scheme that fsspec knows.
    retry : Retry, optional

    Raises
    ------
    UsageError
        The URL has a query, or a scheme that nothing installed can read.
    """

    def __init__(self, url: str, retry: Retry | None = None) -> None:
        from upath import UPath

        self.url = url.rstrip("/")
        self.retry = retry or Retry()
        scheme = urlsplit(url).scheme if "://" in url else ""
        if scheme in ("http", "https") and urlsplit(url).query:
            raise UsageError("the URL of a catalogue has no query part", place=url, hint="give its folder")
        try:
            root = UPath(url if scheme else str(Path(url).expanduser().absolute()), **_options(scheme))
            self._fs: Any = root.fs
        except (ValueError, ImportError) as error:
            raise UsageError(f"nothing installed can read this URL: {error}", place=url, value=url) from error
        self._root = str(root.path).rstrip("/")

    def __str__(self) -> str:
        return self.url

    def path(self, relative: str) -> str:
        """URL of a file below, for people."""
        return f"{self.url}/{relative}"

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
                raise _WrongLengthError(f"{len(data)} bytes came instead of {size}")
            return data

        return self._tried(relative, attempt)

    def read_if_there(self, relative: str) -> bytes | None:
        """All of a small file, None if there is none.

        A store that nobody may list denies access to what it does not have, so a denial means "none", too.
        """
        try:
            return self.read(relative)
        except RemoteError as error:
            if isinstance(error.__cause__, FileNotFoundError) or _is_denial(error.__cause__):
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
                raise _WrongLengthError(f"{len(data)} bytes came instead of {end - start}")
            return data

        return self._tried(relative, attempt)

    def gives_ranges(self, relative: str) -> bool:
        """Whether the server gives a part of a file, not the whole, when asked for one; told by a small file."""
        return len(self._tried(relative, lambda path: self._fs.cat_file(path, start=0, end=1))) == 1

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
                raise _WrongLengthError(f"{target.stat().st_size} bytes came instead of {size}")

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
        failures = _failures()
        try:
            for trial in self.retry.trials(is_transient):
                with trial:
                    return _translated(attempt, path)
        except failures as error:
            raise self._explained(relative, error) from error
        raise RemoteError("was not tried", place=self.path(relative))

    def _explained(self, relative: str, error: Exception) -> RemoteError:
        place = self.path(relative) if relative else self.url
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            return RemoteError("there is no such file", place=place)
        if _is_denial(error):
            return RemoteError("access is denied", place=place, hint="only public catalogues can be pulled")
        reason = " ".join(str(error).split()) or type(error).__name__
        tried = f" after {self.retry.attempts} attempts" if is_transient(error) else ""
        return RemoteError(
            f"cannot be read{tried}: {reason}", place=place, hint="run the same command again later: it resumes"
        )


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


def _failures() -> tuple[type[Exception], ...]:
    """Everything that the libraries below raise when a read fails."""
    from aiohttp import ClientError
    from s3fs.core import HTTPClientError, ParamValidationError

    # fsspec and s3fs raise ValueError for answers that they do not understand.
    return (OSError, ClientError, HTTPClientError, ParamValidationError, ValueError)


def _translated(attempt: Callable[[str], T], path: str) -> T:
    """Make an attempt; what s3fs forgets to translate becomes the OSError that it makes of the same elsewhere."""
    from s3fs.core import ClientError
    from s3fs.errors import translate_boto_error

    try:
        return attempt(path)
    except ClientError as error:
        raise translate_boto_error(error) from error


def _is_denial(error: BaseException | None) -> bool:
    return isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403)


def is_transient(error: Exception) -> bool:
    """Whether a failed read may succeed later: the network's fault, or a server's that is busy."""
    from aiohttp import ClientError, ClientResponseError, InvalidURL
    from s3fs.core import HTTPClientError

    if isinstance(error, ClientResponseError):
        return error.status in TRANSIENT_STATUS
    if isinstance(error, ClientError):
        return not isinstance(error, InvalidURL)
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError):
        return False
    return isinstance(error, OSError | HTTPClientError)
