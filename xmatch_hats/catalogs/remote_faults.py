"""What goes wrong with reads from afar, in the words of several libraries: what it means, and whether to try again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that mean "not now" rather than "no"."""


class WrongLengthError(OSError):
    """Not as many bytes as were asked for."""


def reason_of(error: Exception) -> str:
    """Say in a few words why a read failed."""
    from aiohttp import ClientResponseError, TooManyRedirects

    if isinstance(error, TooManyRedirects):
        return "the server redirects from place to place, and to no file"
    if isinstance(error, ClientResponseError):
        return f"the server answers {error.status} {error.message}".strip()
    return " ".join(str(error).split()) or type(error).__name__


def failures() -> tuple[type[Exception], ...]:
    """Everything that the libraries below raise when a read fails."""
    from aiohttp import ClientError
    from s3fs.core import HTTPClientError, ParamValidationError

    # fsspec and s3fs raise ValueError for answers that they do not understand.
    return (OSError, ClientError, HTTPClientError, ParamValidationError, ValueError)


def translated(attempt: Callable[[str], T], path: str) -> T:
    """Make an attempt; what s3fs forgets to translate becomes the OSError that it makes of the same elsewhere."""
    from s3fs.core import ClientError
    from s3fs.errors import translate_boto_error

    try:
        return attempt(path)
    except ClientError as error:
        raise translate_boto_error(error) from error


def is_denial(error: BaseException | None) -> bool:
    """Whether a server refuses to give it to anybody who asks."""
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
