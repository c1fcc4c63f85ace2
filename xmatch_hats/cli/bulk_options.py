"""What the verbs of ``xmatch-hats bulk`` share: options, how far a run is, and what a dry run says."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.bulk.runs.watch import Listener, Progress
from xmatch_hats.cli.options import check_scheduler
from xmatch_hats.display import counted, told_bytes
from xmatch_hats.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from xmatch_hats.bulk.runs.estimate import Estimate
    from xmatch_hats.matching.scheduling import Scheduler

MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory-per-worker",
        metavar="SIZE",
        help="Most memory of each worker, such as 4GiB; what does not fit is worked in pieces.",
    ),
]
DashboardOption = Annotated[
    bool, typer.Option("--dashboard", help="Serve Dask's dashboard for workers that are started here.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what there is to do, the time and the disk it takes, and do nothing.")
]

_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>[kKMGT]i?)?B?")
_UNITS = {
    None: 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "ki": 1 << 10, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}  # fmt: skip


def parse_size(text: str | None, option: str = "--memory-per-worker") -> int | None:
    """Number of bytes that an option means; None where it is not given.

    Raises
    ------
    UsageError
        It is no size.
    """
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found["number"]) * _UNITS[found["unit"]]) if found else 0
    if size <= 0:
        raise UsageError(
            f"{text!r} is no size", place=option, hint="write 4GiB, 500MB or a number of bytes", value=text
        )
    return size


def bulk_scheduler(
    address: str | None,
    workers: int | None,
    tls: tuple[Path, Path, Path] | None,
    *,
    memory: int | None = None,
    dashboard: bool = False,
) -> Scheduler:
    """Make what the options say where to work; the caller closes it.

    Parameters
    ----------
    address, workers, tls
        Of ``--scheduler``, ``--workers`` and ``--tls``.
    memory : int, optional
        Bytes for each worker. Those of a scheduler that runs already have their own bound, of which nothing is asked.
    dashboard : bool, optional

    Raises
    ------
    UsageError
        They do not go together.
    ConfigError
        A file of ``--tls`` cannot be used.
    """
    from xmatch_hats.matching.scheduling import Scheduler
    from xmatch_hats.matching.tls import TlsFiles

    check_scheduler(address, workers)
    is_own = address is None and workers != 0
    if dashboard and not is_own:
        raise UsageError("a dashboard is for workers that are started here", place="--dashboard", hint="leave it out")
    return Scheduler(
        address=address,
        workers=workers,
        tls=None if tls is None else TlsFiles.of(*tls),
        memory_limit=memory if is_own else None,
        dashboard=dashboard,
    )


class RunBar(Listener):
    """A bar for each stage on stderr if that is a terminal; sentences go to stderr in any case.

    Use it as a context manager.
    """

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._bars: Bars | None = None
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> RunBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, stage: str, progress: Progress) -> None:
        """Draw how far a stage is: tasks, rate, and the time that is left."""
        if not self._is_shown:
            return
        if self._bars is None:
            self._bars = _new_bars()
            self._bars.start()
        if stage not in self._stages:
            self._stages[stage] = self._bars.add_task(stage, total=None, told="")
        # By size where that is known: tasks differ.
        total = progress.size or progress.tasks or None
        done = progress.size_done if progress.size else progress.done + progress.failed
        self._bars.update(self._stages[stage], total=total, completed=done, told=told_progress(progress))

    def say(self, text: str) -> None:
        """Tell a sentence."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            typer.echo(text, err=True)


def _new_bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    return Bars(*columns, console=Console(stderr=True))


def told_progress(progress: Progress) -> str:
    """Write down how far a run is, in a few words."""
    words = [f"{progress.done:,}/{progress.tasks:,}" if progress.tasks else f"{progress.done:,}"]
    if progress.failed:
        words.append(f"{progress.failed:,} failed")
    if progress.rate:
        words.append(f"{told_bytes(progress.rate)}/s")
    if progress.seconds_left is not None:
        words.append(f"{told_time(progress.seconds_left)} left")
    return " · ".join(words)


def told_time(seconds: float) -> str:
    """Write a time for people: hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def tell_dashboard(scheduler: Scheduler, listener: Listener) -> None:
    """Connect, and say where Dask's dashboard is, if there is one.

    Raises
    ------
    SystemFailure
        The scheduler cannot be reached, or workers do not start.
    """
    scheduler.connect()
    if address := scheduler.dashboard:
        listener.say(f"Dask's dashboard: {address}")


def tell_estimate(estimates: Sequence[tuple[str, Estimate]], *, as_json: bool) -> None:
    """Print what a dry run found, for each part of the work.

    Raises
    ------
    OutputError
        The output would not fit on its disk.
    """
    if as_json:
        typer.echo(json.dumps({name: asdict(estimate) for name, estimate in estimates}))
    for name, estimate in () if as_json else estimates:
        done = f", {estimate.skipped:,} are done already" if estimate.skipped else ""
        typer.echo(f"{name}: {counted(estimate.tasks, 'unit')} to do{done}")
        typer.echo(f"  to read      {told_bytes(estimate.size)}")
        typer.echo(
            f"  time         about {told_time(estimate.seconds)} with {counted(estimate.workers, 'worker')}, "
            f"by {counted(estimate.sampled, 'unit')} that {'was' if estimate.sampled == 1 else 'were'} tried; "
            "start and end come on top"
        )
        typer.echo(f"  disk needed  {told_bytes(estimate.disk_needed)} of {told_bytes(estimate.disk_free)} free")
    needed = sum(estimate.disk_needed for _, estimate in estimates)
    free = min((estimate.disk_free for _, estimate in estimates), default=0)
    if needed > free:
        raise OutputError(f"the output will not fit: it takes {told_bytes(needed)}, and {told_bytes(free)} are free")
