"""What a run will cost, from a few of its tasks that are done and thrown away."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.whole import unwritable

SAMPLE_TASKS = 4
"""One that warms up, and three that are measured."""


@dataclass(frozen=True)
class Estimate:
    """What a run will cost, about."""

    tasks: int
    """That are left to do."""
    skipped: int
    """That earlier runs did."""
    size: int
    """Bytes that the tasks read."""
    seconds: float
    """How long they take, all workers together at work."""
    workers: int
    disk_needed: int
    """Bytes that are written."""
    disk_free: int
    """Bytes there are, where the output will lie."""
    sampled: int
    """Tasks that were measured."""

    @property
    def has_room(self) -> bool:
        """Whether the output fits on its disk."""
        return self.disk_needed <= self.disk_free


def choose_sample(sizes: Sequence[int], count: int = SAMPLE_TASKS) -> list[int]:
    """Choose tasks that stand for all.

    Parameters
    ----------
    sizes : sequence of int
        Bytes that the tasks read.
    count : int, optional

    Returns
    -------
    list of int
        Numbers of tasks: the smallest that reads anything, which shall warm up, and others of the middle of each part
        when tasks are put in the order of their sizes.
    """
    order = [int(number) for number in np.argsort(sizes, kind="stable") if sizes[number] > 0]
    if len(order) <= count:
        return order
    measured = count - 1
    middles = [order[(2 * part + 1) * len(order) // (2 * measured)] for part in range(measured)]
    return list(dict.fromkeys((order[0], *middles)))


def estimate_run(
    sizes: Sequence[int],
    make_sample: Callable[[Path, Sequence[int]], Sequence[Task]],
    out: Path,
    *,
    workers: int,
    skipped: int = 0,
    on_disk: float = 1.0,
) -> Estimate:
    """Do a few tasks in this process, into a folder that is removed, and say what all will cost.

    Parameters
    ----------
    sizes : sequence of int
        Bytes that the tasks read which are left to do.
    make_sample : callable
        Given an empty folder and numbers of tasks, makes these tasks so that they write below the folder only.
    out : Path
        Where the output will lie; the sample is written beside it, on the same disk.
    workers : int
        How many tasks will be worked on at the same time.
    skipped : int, optional
        Number of tasks that earlier runs did.
    on_disk : float, optional
        How many times what the tasks write lies on the disk before the run is over.

    Returns
    -------
    Estimate

    Raises
    ------
    OutputError
        Nothing can be written beside the output.
    Exception
        Whatever a task of the sample raises.
    """
    numbers = choose_sample(sizes)
    parent = _existing(out.parent)
    try:
        sample = TemporaryDirectory(prefix=f".{out.name}.sample-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise unwritable(parent, error) from error
    with sample as name:
        rate, growth, sampled = _measure(make_sample(Path(name), numbers), Path(name))
    free = shutil.disk_usage(parent).free
    size = sum(sizes)
    return Estimate(
        tasks=len(sizes),
        skipped=skipped,
        size=size,
        seconds=size * rate / max(1, min(workers, len(sizes))),
        workers=workers,
        disk_needed=round(size * growth * on_disk),
        disk_free=free,
        sampled=sampled,
    )


def _measure(tasks: Sequence[Task], folder: Path) -> tuple[float, float, int]:
    """Seconds and written bytes for each byte that is read, and number of tasks that were measured."""
    seconds = written = size = count = 0.0
    for number, task in enumerate(tasks):
        before, begun = _bytes_in(folder), perf_counter()
        task.work(*task.arguments)
        if number == 0 and len(tasks) > 1:
            # The first of a process imports and compiles.
            continue
        seconds += perf_counter() - begun
        written += _bytes_in(folder) - before
        size += task.size
        count += 1
    return (seconds / size, written / size, int(count)) if size else (0.0, 0.0, 0)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())
