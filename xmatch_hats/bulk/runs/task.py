"""One piece of bulk work, and what comes of it.

Workers import this module: it needs nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xmatch_hats.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_=][A-Za-z0-9_=,.+@-]{0,199}")


@dataclass(frozen=True)
class Task:
    """A piece of work that is done whole or not at all, by any worker, with the same result.

    Raises
    ------
    UsageError
        Its name is not fit for a file.
    """

    name: str
    """Unique in its run, and the same in every run of the same work: a resume knows by it what is done."""
    size: int
    """What it costs, about, in bytes that are read; for progress and for the time that is left."""
    work: Callable[..., Mapping[str, Any]]
    """Function of a module. It writes its output whole or not at all, and then returns its record: JSON values only.
    It may be called again for a task whose output is there already, also while an earlier call still runs elsewhere."""
    arguments: tuple[Any, ...] = ()
    """What it is called with; they travel pickled. What all tasks share belongs in a `Shared`. A task that is done
    already needs none."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot name a task", hint="letters, digits and _=,.+@- go into a file name"
            )


@dataclass(frozen=True)
class Failure:
    """Why a task was set aside."""

    reason: str
    """In one or two lines, for people."""
    attempts: int
    trace: str = ""
    """Python's traceback, where there is one."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run; names are in the order in which tasks were given."""

    done: dict[str, dict[str, Any]]
    """Records of all tasks that are done, in this run or in earlier ones."""
    skipped: tuple[str, ...]
    """Those of them that earlier runs did."""
    failed: dict[str, Failure]
    """Tasks that were set aside."""
