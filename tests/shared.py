"""What is made once for all processes of a test run, and what is left to the campaign."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock


def full_size(*values: object) -> Any:
    """A case of a test for the campaign alone."""
    return pytest.param(*values, marks=pytest.mark.campaign)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Have the first process that comes make a folder, and the others wait for it; nobody may change it afterwards.

    Parameters
    ----------
    factory : TempPathFactory
    name : str
        Of the folder, and of nothing else in a run.
    make : callable
        Fills the folder, which exists and is empty.
    """
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            # What one that failed has left.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
