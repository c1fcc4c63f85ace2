"""Disk and memory of this machine, held against what work on it takes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from xmatch_hats.doctor.report import State, Symptom

LEAST_DISK_BYTES = 1 << 30
"""For small copies, outputs and what Dask puts off; a pull of a degree of ALLWISE takes a hundredth of it."""
NO_DISK_BYTES = 64 << 20
"""Below this nothing can be written that is worth it."""
CONTROL_GROUP = Path("/sys/fs/cgroup")


def look_at_disk() -> list[Symptom]:
    """Tell what is free where copies lie, and where temporary files go."""
    from xmatch_hats.config import load_config
    from xmatch_hats.doctor.copies import largest_copy_bytes

    root = load_config().catalogs_root
    largest = largest_copy_bytes()
    needed = max(LEAST_DISK_BYTES, largest)
    purpose = "another version of the largest copy" if largest > LEAST_DISK_BYTES else "small copies"
    return [
        _disk("disk for catalogues", root, needed, purpose, "choose another disk with XMATCH_HATS_CATALOGS"),
        _disk(
            "disk for temporary files",
            Path(tempfile.gettempdir()),
            LEAST_DISK_BYTES,
            "what Dask puts off",
            "choose another disk with TMPDIR",
        ),
    ]


def _disk(what: str, folder: Path, needed: int, purpose: str, elsewhere: str) -> Symptom:
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    told = f"{_gigabytes(free)} free, {_gigabytes(needed)} wanted for {purpose}, {folder}"
    if not os.access(place, os.W_OK):
        return Symptom(what, State.WARNING, f"{place} cannot be written to", elsewhere)
    if free < NO_DISK_BYTES:
        return Symptom(what, State.PROBLEM, told, f"make room, or {elsewhere}")
    return Symptom(what, State.WARNING if free < needed else State.OK, told, elsewhere if free < needed else "")


def look_at_memory() -> list[Symptom]:
    """Tell what is free, and for how many workers that is enough."""
    from dask.system import CPU_COUNT

    from xmatch_hats.bulk.catalogs.memory import LEAST_BYTES

    free, cores = free_memory(), CPU_COUNT
    if free is None:
        return [Symptom("memory", State.WARNING, "this system does not tell how much is free")]
    fit = free // LEAST_BYTES
    told = f"{_gigabytes(free)} free, {_gigabytes(cores * LEAST_BYTES)} wanted for {cores} workers, one a core"
    if fit >= cores:
        return [Symptom("memory", State.OK, told)]
    if fit == 0:
        return [Symptom("memory", State.PROBLEM, told, "end other programs, or take a larger machine")]
    return [Symptom("memory", State.WARNING, told, f"give --workers {fit}, or WORKERS={fit} to the step")]


def free_memory() -> int | None:
    """Bytes that a process may still take here, by the machine and by its container; None where nobody tells."""
    return min(_free_bytes(), default=None)


def _free_bytes() -> Iterator[int]:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    # Version 2 of control groups, then version 1; what is no number is no limit.
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            yield int((CONTROL_GROUP / limit).read_text()) - int((CONTROL_GROUP / used).read_text())
        except (OSError, ValueError):
            continue


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
