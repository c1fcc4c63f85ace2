"""Files as streams of bytes: compression told by content, and what a broken file is."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from xmatch_hats.errors import TableError

BROKEN = (pa.ArrowInvalid, pa.ArrowNotImplementedError, EOFError, zlib.error, OSError, UnicodeDecodeError)
"""What readers raise for a broken file: malformed, cut short, badly compressed, not readable."""


def open_stream(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressing gzip and bzip2 by their first bytes.

    Raises
    ------
    TableError
        There is no such file, it is a folder, or it must not be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(3)
        if magic[:2] == b"\x1f\x8b":
            return cast(IO[bytes], gzip.open(path, "rb"))
        if magic == b"BZh":
            return bz2.open(path, "rb")
        return path.open("rb")
    except FileNotFoundError:
        raise TableError("there is no such file", place=path) from None
    except IsADirectoryError:
        raise TableError("is a folder, not a file", place=path) from None
    except OSError as error:
        raise TableError(f"cannot be read: {error.strerror}", place=path) from error


@contextmanager
def broken_file(path: Path, what: str) -> Iterator[None]:
    """Turn what a reader raises for a broken file into a `TableError` that names it.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        Name of the format.
    """
    try:
        yield
    except BROKEN as error:
        raise TableError(f"not a whole {what} file: {one_line(error)}", place=path) from error


def one_line(error: BaseException) -> str:
    """First line of what an error says, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_head(path: Path, size: int) -> bytes:
    """First bytes of a file, decompressed.

    Raises
    ------
    TableError
        The file cannot be read or decompressed.
    """
    with broken_file(path, "readable"), open_stream(path) as stream:
        return stream.read(size)
