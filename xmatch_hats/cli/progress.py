"""Progress of a long stage-by-stage job on a terminal; where nobody looks, only what is worth telling."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DRAWN_BY_OTHERS = frozenset({"converting"})
"""Stages in which hats-import draws bars of its own; two at once would overwrite each other."""


class StageProgress:
    """A bar for each stage on stderr if that is a terminal; sentences go to stderr in any case.

    Use it as a context manager. `bar` tells whether others may draw.
    """

    def __init__(self) -> None:
        self.bar = sys.stderr.isatty()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def stage(self, name: str, total: int = 0) -> None:
        """Begin a stage of so many steps, 0 if they are not counted."""
        self._stop()
        if not self.bar or name in DRAWN_BY_OTHERS:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = [TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn()]
        if total > 1:
            columns.insert(2, MofNCompleteColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._progress.start()
        self._task = self._progress.add_task(name, total=total if total > 1 else None)

    def step(self, done: int) -> None:
        """So many steps of the stage are done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)

    def advance(self, more: int) -> None:
        """So many more steps of the stage are done."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, more)

    def say(self, text: str) -> None:
        """Tell a sentence."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            typer.echo(text, err=True)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = None
