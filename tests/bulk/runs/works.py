"""Work for tasks, in a module that workers can import."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.errors import CatalogError, PartitionReadError
from xmatch_hats.whole import written_whole


def square(number: int, folder: Path) -> dict[str, int]:
    """Write a file, note the call in another, and tell what was written."""
    mark(folder / "calls", str(number))
    with written_whole(folder / "out" / f"{number}.txt", folder / "scratch") as file:
        file.write(str(number * number).encode())
    return {"square": number * number}


def squares(count: int, folder: Path, **changed) -> list[Task]:
    """Tasks `n0`, `n1` and so on; given ones are replaced."""
    tasks = [Task(f"n{number}", 100, square, (number, folder)) for number in range(count)]
    return [changed.get(task.name, task) for task in tasks]


def calls(folder: Path) -> list[str]:
    """What `mark` noted of a folder's calls, in order."""
    path = folder / "calls"
    return path.read_text().split() if path.exists() else []


def mark(path: Path, word: str) -> None:
    """Append a word, in one write that others do not cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(f"{word}\n".encode())


def unreadable(place: str, folder: Path) -> dict[str, int]:
    mark(folder / "calls", "unreadable")
    raise PartitionReadError("cannot be read: torn", place=place)


def fail_until(times: int, folder: Path) -> dict[str, int]:
    """Fail so many times, and then not."""
    mark(folder / "calls", "fail_until")
    if calls(folder).count("fail_until") <= times:
        raise ValueError("not yet")
    return {"tries": times + 1}


def full_disk(folder: Path) -> dict[str, int]:
    """As a writer of this package tells of a full disk."""
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise CatalogError("cannot be written", place=folder / "part.parquet") from error


def not_json(folder: Path) -> dict[str, object]:
    return {"folder": folder}


def kill_worker(folder: Path) -> dict[str, int]:
    mark(folder / "calls", "kill_worker")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def hold(number: int, folder: Path) -> dict[str, int]:
    """Say which process works, and go on once the test says so."""
    mark(folder / "holders", f"{number}:{os.getpid()}")
    while not (folder / "go").exists():
        time.sleep(0.02)
    return square(number, folder)


def missing_module() -> dict[str, int]:
    import no_such_module_at_all  # noqa: F401

    return {}


def length(data: bytes) -> dict[str, int]:
    return {"length": len(data)}


def grow(number: int, size: int, folder: Path) -> dict[str, int]:
    """Write so many bytes."""
    (folder / f"{number}.bin").write_bytes(bytes(size))
    return {"bytes": size}


def slow_square(number: int, folder: Path) -> dict[str, int]:
    """Take a few milliseconds over it."""
    time.sleep(0.003)
    return square(number, folder)


def slow_squares(count: int, folder: Path) -> list[Task]:
    """Tasks of which a second does some hundreds."""
    return [Task(f"n{number}", 100, slow_square, (number, folder)) for number in range(count)]


def write_block(number: int, size: int, folder: Path) -> dict[str, int]:
    """Write so many bytes, whole or not at all."""
    with written_whole(folder / "out" / f"{number}.bin", folder / "scratch") as file:
        file.write(bytes(size))
    return {"bytes": size}
