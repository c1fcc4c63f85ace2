"""What a worker does with the tasks that it is sent.

Workers import this module: it needs nothing heavy.
"""

from __future__ import annotations

import os
import pickle
import socket
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.errors import OutputError, SystemFailure, XmatchError
from xmatch_hats.whole import output_fault


@dataclass(frozen=True)
class Performed:
    """One call of a task's work."""

    name: str
    seconds: float
    """How long it took."""
    worker: str
    """Host and process that did it."""
    record: dict[str, Any] | None = None
    """None where it failed."""
    error: XmatchError | None = None
    """Why it failed; errors that are not of this package come as text inside of one that is."""
    trace: str = ""


def pack(task: Task) -> bytes:
    """Make of a task what `perform` takes.

    Bytes, because Dask would look through arguments and copy them more than once.
    """
    return pickle.dumps((task.name, task.work, task.arguments), protocol=5)


def perform(packed: Sequence[bytes], folder: Path) -> list[Performed]:
    """Do tasks one after the other, and record each in the ledger of a folder as soon as it is done.

    Where the output cannot be written, or something is missing that all tasks need, the rest is left.
    """
    ledger = Ledger(folder)
    performed: list[Performed] = []
    for blob in packed:
        performed.append(_perform(blob, ledger))
        if isinstance(performed[-1].error, OutputError | SystemFailure):
            break
    return performed


def _perform(blob: bytes, ledger: Ledger) -> Performed:
    name, work, arguments = pickle.loads(blob)
    worker = f"{socket.gethostname()}:{os.getpid()}"
    begun = perf_counter()
    # A worker that died had done it, perhaps, and did not live to tell.
    record = ledger.record(name)
    try:
        if record is None:
            record = dict(work(*arguments))
            ledger.write(name, record)
        return Performed(name, perf_counter() - begun, worker, record)
    except Exception as error:  # noqa: BLE001, one task that fails must not end all
        portable = _portable(error, ledger.folder)
        return Performed(name, perf_counter() - begun, worker, error=portable, trace=traceback.format_exc())


def _portable(error: Exception, folder: Path) -> XmatchError:
    """Make of an error one that other processes understand, too."""
    if fault := output_fault(error, folder):
        return fault
    if isinstance(error, ImportError):
        return SystemFailure(
            f"a worker lacks software: {error}",
            place=socket.gethostname(),
            hint="install the same xmatch-hats everywhere",
        )
    if not isinstance(error, XmatchError):
        return XmatchError(f"{type(error).__name__}: {error}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001, its value may be anything
        return XmatchError(str(error))
    return error
