"""What is done of a run, in a folder of small files: whatever kills the run, they stay.

Workers import this module: it needs nothing heavy.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xmatch_hats.bulk.runs.task import Failure
from xmatch_hats.whole import unwritable, written_whole


class Ledger:
    """Records of tasks: one file for each that is done, written by the worker that did it, and one for each set aside.

    Work of other inputs or settings belongs in another folder: a worker that was given up with the run before may
    still finish what it has begun, there.

    Parameters
    ----------
    folder : Path
        All workers must see it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done = folder / "done"
        self._aside = folder / "aside"
        self._scratch = folder / "scratch"

    def begin(self) -> None:
        """Forget what was set aside, so that it is tried anew, and what was not written whole.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        try:
            for folder in (self._aside, self._scratch):
                shutil.rmtree(folder, ignore_errors=True)
            for folder in (self._done, self._aside, self._scratch):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def record(self, name: str) -> dict[str, Any] | None:
        """Record of a task; None where it is not done, or its record is damaged."""
        return _read(self._done / f"{name}.json", name)

    def done(self) -> dict[str, dict[str, Any]]:
        """Records of all tasks that are done, by name."""
        return _read_all(self._done)

    def set_aside(self) -> dict[str, Failure]:
        """Tasks that the last run set aside, by name."""
        return {name: Failure(**failure) for name, failure in _read_all(self._aside).items()}

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Note that a task is done.

        Raises
        ------
        OutputError
            It cannot be written.
        TypeError, ValueError
            The record holds what JSON does not know.
        """
        self._write(self._done / f"{name}.json", name, record)

    def write_failure(self, name: str, failure: Failure) -> None:
        """Note that a task is set aside.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        self._write(self._aside / f"{name}.json", name, asdict(failure))

    def _write(self, path: Path, name: str, record: Mapping[str, Any]) -> None:
        text = json.dumps({"name": name, "record": record}, allow_nan=False)
        with written_whole(path, self._scratch) as file:
            file.write(text.encode())


def _read_all(folder: Path) -> dict[str, dict[str, Any]]:
    found = ((path.stem, _read(path, path.stem)) for path in sorted(folder.glob("*.json")))
    return {name: record for name, record in found if record is not None}


def _read(path: Path, name: str) -> dict[str, Any] | None:
    """Record of a file that was written for a task of this name, if it is whole."""
    try:
        entry = json.loads(path.read_bytes())
        return dict(entry["record"]) if entry["name"] == name else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
