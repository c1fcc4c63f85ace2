"""Python's search for reference cycles, made rare while batches run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OBJECTS = 100_000
"""New objects between two searches: some batches' worth. A message is twenty or so, none of them part of a cycle."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Have cycles searched for every hundred thousand new objects, not every seven hundred.

    A batch in memory is tens of thousands of objects, and each search goes through many of them in vain: a quarter of
    the time of a run that reads and writes files.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
