"""Files that appear whole or not at all, and what it means that they cannot be written.

Workers import this module: it needs nothing heavy.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from xmatch_hats.errors import OutputError, XmatchError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""No task can write where one of these has struck."""


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, which is there; links are followed."""
    return one.exists() and other.exists() and one.samefile(other)


@contextmanager
def written_whole(path: Path, scratch: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when it is whole and on the disk, or never.

    Two workers may do this with one path at the same time, as happens when one is taken for lost.

    Parameters
    ----------
    path : Path
        A file of this name is replaced.
    scratch : Path
        Folder of the same file system for what is not whole.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    temporary = scratch / uuid4().hex
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unwritable(path: Path | str, error: OSError) -> OutputError:
    """Error that says that an output cannot be written, and why."""
    hint = ""
    if error.errno in NO_ROOM - {errno.EROFS}:
        hint = "make room, and run the same command again: what is done is kept"
    # Arrow's own words for a number of the system's are longer, and name nothing more.
    reason = os.strerror(error.errno) if error.errno else error
    return OutputError(f"cannot be written: {reason}", place=path, hint=hint)


def output_fault(error: BaseException, place: Path | str) -> OutputError | None:
    """Find in an error, or in what caused it, that there is no room or no way to write; None where there is not.

    Parameters
    ----------
    error : BaseException
    place : Path or str
        Named where no error of the chain knows the file.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OutputError):
            return seen
        if isinstance(seen, OSError) and seen.errno in NO_ROOM:
            return unwritable(seen.filename or place, seen)
        if isinstance(seen, XmatchError) and seen.place:
            place = seen.place
        seen = seen.__cause__ or seen.__context__
    return None
