"""``xmatch-hats demo``: the whole path on made-up data, in under a minute."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli import PROGRAM
from xmatch_hats.quiet import quiet

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from xmatch_hats.demo.tour import DemoReport


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where to work; an earlier demo there is replaced.")
    ] = Path("xmatch-hats-demo"),
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep the folder for the next commands.")] = True,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same sky.")] = 1,
    rows: Annotated[int, typer.Option("--rows", help="Sources of the catalogue.")] = 200_000,
    alerts: Annotated[int, typer.Option("--alerts", help="Alerts of the exposure.")] = 1_500,
) -> None:
    """Make a sky and alerts, import, verify, match, and check the answers; no network, nobody's data.

    Exit code 1 if brute force disagrees with the engine.

    Example: xmatch-hats demo --dir /tmp/demo
    """
    from rich.console import Console

    from xmatch_hats.demo.tour import DemoSettings, prepare_folder, remove_folder, run_demo

    console = Console(highlight=False)
    settings = DemoSettings(folder, seed, rows, alerts)
    prepare_folder(settings)
    try:
        # Packets that are damaged on purpose are listed at the end.
        with quiet("xmatch_hats.step.file_ends", logging.ERROR):
            report = run_demo(settings, _Steps(console))
        _show(console, report, next_commands=keep)
    finally:
        if not keep:
            remove_folder(folder)
    if report.problems:
        raise typer.Exit(1)


class _Steps:
    """Shows the steps of a demo, with a spinner while one runs where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._status: Status | None = None

    def begin(self, title: str) -> None:
        self._title = title
        if sys.stdout.isatty():
            self._status = self._console.status(title)
            self._status.start()

    def end(self, result: str, seconds: float) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        self._console.print(f"{seconds:5.1f} s  {self._title}: {result}", soft_wrap=True)


def _show(console: Console, report: DemoReport, *, next_commands: bool) -> None:
    from rich.table import Table

    from xmatch_hats.demo.tour import RADIUS_ARCSEC, command_line

    counts = report.counts
    table = Table(title=f"Alerts matched with the made sky, nearest within {RADIUS_ARCSEC:g} arcsec")
    for name in ("in", "matched", "unmatched", "outside coverage", "rejected"):
        table.add_column(name, justify="right")
    table.add_row(*(f"{counts[key]:,}" for key in ("in", "matched", "unmatched", "outside_coverage", "rejected")))
    console.print()
    console.print(table)
    for name, reason in report.rejects.items():
        console.print(f"rejected {name}: {reason}", soft_wrap=True, markup=False)
    if report.sample:
        _show_sample(console, report)
    if report.problems:
        console.print("\nBrute force disagrees:", style="bold red")
        for problem in report.problems:
            console.print(f"  {problem}", soft_wrap=True, markup=False)
    if next_commands:
        console.print("\nTry next:")
        for words in report.next_commands:
            console.print(f"  {command_line(words, _program())}", soft_wrap=True, markup=False)


def _program() -> str:
    """Name this command as it was called where the shell does not find it by its bare name."""
    called = Path(sys.argv[0])
    lost = called.name == PROGRAM and shutil.which(PROGRAM) is None
    return str(called) if lost else PROGRAM


def _show_sample(console: Console, report: DemoReport) -> None:
    sample = report.sample
    console.print(f"\nOne of them: {sample['objectId']} at {sample['ra']:.6f} {sample['dec']:+.6f} has xmatches")
    for catalog, match in sample["xmatches"].items():
        pairs = [
            f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in match.items()
        ]
        console.print(f"  {catalog}: {', '.join(pairs)}", soft_wrap=True, markup=False)
