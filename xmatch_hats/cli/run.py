"""``xmatch-hats run``: the streaming step."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmatch_hats.cli.options import SchedulerOption, WorkersOption, begin_workers

if TYPE_CHECKING:
    from xmatch_hats.step.settings import StepSettings
    from xmatch_hats.step.waiting import Stop

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings in TOML; the environment wins over them."),
]
ExactlyOnceOption = Annotated[
    bool, typer.Option("--exactly-once", help="Transactions: readers of committed messages see no repeat.")
]


def run(  # noqa: PLR0913, options are the arguments of a command
    config: ConfigOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Try all that a run would use, tell what it would do, and do nothing.")
    ] = False,
    exactly_once: ExactlyOnceOption = False,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Replay messages from this time on, ISO 8601, UTC.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Replay messages before this time, then end.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(metavar="DIR|TAR", help="Read packets from files instead of Kafka.")
    ] = None,
    sink: Annotated[
        Path | None, typer.Option(metavar="DIR|TAR", help="Write packets to files instead of Kafka.")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for files that cannot be used. Default: SINK.rejects.")
    ] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: one JSON object.")] = False,
) -> None:
    """Crossmatch a stream: from Kafka to Kafka, by settings in the environment or a file; files do for trying.

    It runs until it is told to stop (SIGTERM, Ctrl-C; a second one stops at once), or, with ENABLE_PARTITION_EOF, has
    read everything. What fails is waited for; nothing is lost meanwhile.

    Example: xmatch-hats run --source ./packets --sink ./matched
    """
    settings = read_settings(
        config,
        delivery="exactly-once" if exactly_once else None,
        replay_from=since,
        replay_until=until,
        source=source,
        sink=sink,
        rejects=rejects,
        workers=workers,
        dask_scheduler=scheduler,
    )
    if check:
        tell_check(settings, as_json=as_json)
        return
    settings.require_complete()
    begin_workers(settings.dask_scheduler, settings.workers)
    if settings.uses_files:
        _run_files(settings)
        return
    with stopping(settings.stop_timeout) as stop:
        from xmatch_hats.step.run import run_stream

        run_stream(settings, stop)


def _run_files(settings: StepSettings) -> None:
    """Run with files at both ends; a signal ends this as it ends any command, and what was written is cleared away."""
    from xmatch_hats.cli.alerts import summary
    from xmatch_hats.step.run import run_files
    from xmatch_hats.step.waiting import Stop

    typer.echo(summary(run_files(settings, Stop()), Path(str(settings.sink))))


def read_settings(config: Path | None, **overrides: Any) -> StepSettings:
    """Read the settings, and set the log up as they say."""
    from xmatch_hats.step.monitoring.logs import set_up_logs
    from xmatch_hats.step.settings import load_settings

    settings = load_settings(config, overrides)
    set_up_logs(settings.log_format, settings.log_level, secrets=settings.secret_texts())
    return settings


def tell_check(settings: StepSettings, *, as_json: bool) -> None:
    """Print what a check of the settings finds.

    Raises
    ------
    typer.Exit
        Something is wrong: exit code 1.
    """
    from xmatch_hats.step.check import check_step

    report = check_step(settings)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        for name, value, origin in report.settings:
            typer.echo(f"{name} = {value}  ({origin})")
        typer.echo("")
        for item in report.items:
            see = "" if item.ok or not item.settings else f" [{', '.join(item.settings)}]"
            typer.echo(f"{'ok  ' if item.ok else 'FAIL'} {item.what}: {item.detail}{see}")
    if not report.ok:
        raise typer.Exit(1)


@contextmanager
def stopping(seconds: float = 8.0) -> Iterator[Stop]:
    """Have signals tell a run to stop: the first one asks, the second one ends the program.

    Parameters
    ----------
    seconds : float, optional
        How long a run that is asked to stop may take.
    """
    from xmatch_hats.step.waiting import Stop

    stop = Stop()
    # The run keeps to the bound itself, and these are for one that hangs: it is repeated from its last commit.
    bounds = [Timer(seconds + 0.5, stop.abandoned.set), Timer(seconds + 1.5, os._exit, (0,))]

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.requested.is_set():
            os._exit(128 + number)
        stop.requested.set()
        for bound in bounds:
            bound.daemon = True
            bound.start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.requested.is_set():
        # A thread that waits for something that does not answer must not hold the end up.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
