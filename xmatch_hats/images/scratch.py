"""Where files lie that are not whole yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xmatch_hats.whole import unwritable

__all__ = ["scratch_folder"]


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """Make a folder, if need be, and within it one for what is not whole, which is gone afterwards.

    Raises
    ------
    OutputError
        They cannot be made.
    """
    scratch = out / ".unfinished"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(out, error) from error
    try:
        yield scratch
    finally:
        # Another run may be at work in it.
        if not any(scratch.iterdir()):
            scratch.rmdir()


def __dir__() -> list[str]:
    return sorted(__all__)
