"""The process that workers of our own are forked from: it imports once what they all need, while others import theirs.

A worker that starts from nothing takes seconds to import what it needs, and memory of its own for it. Nothing of Dask
is imported here, so that a command can have this begin before anything else.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver

logger = logging.getLogger(__name__)

PRELOADED = ("distributed", "distributed.nanny", "pandas", "xmatch_hats.matching.resident.work")
"""None of them starts a thread, which would not live on in the forks, but that of Arrow's jemalloc, which knows."""
_ENVIRON = {
    # Its default takes memory from the system in huge pages, which are cleared whole for the little that is used: some
    # ten times what a partition's rows need, and at times most of what a first batch takes.
    "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""What Dask gives its workers, and Arrow's memory; libraries look at it when they are loaded, before the fork."""


def start_fork_server() -> bool:
    """Start it, unless it runs, and do not wait for it; it ends with this process.

    Returns
    -------
    bool
        Whether it could be started: it needs a folder for its socket. Workers can start without it, more slowly.
    """
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    try:
        with _environ():
            forkserver.ensure_running()
    except OSError as error:
        logger.debug("workers will not be forked: %s", error)
        return False
    return True


@contextmanager
def _environ() -> Iterator[None]:
    added = {name: value for name, value in _ENVIRON.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
