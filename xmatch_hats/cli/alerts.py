"""``xmatch-hats alerts``: crossmatch alert packets in files, folders and archives."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.console import note
from xmatch_hats.cli.options import (
    CatalogsOption,
    SchedulerOption,
    TlsOption,
    WorkersOption,
    begin_workers,
    make_scheduler,
    parse_targets,
)

if TYPE_CHECKING:
    from xmatch_hats.matching.crossmatcher import CatalogTarget
    from xmatch_hats.step.files import AlertsReport


CLUSTER_FROM_BYTES = 256 << 20
"""Packets of fewer bytes are matched sooner by threads of this process than worker processes take to start."""


class OutputSchema(StrEnum):
    """Schemas that packets can leave with."""

    INPUT = "input"
    ZTF_33 = "ztf-3.3"


def alerts(  # noqa: PLR0913, options are the arguments of a command
    packets: Annotated[
        list[Path],
        typer.Argument(metavar="PACKETS...", help="Avro files, folders of them, or .tar and .tar.gz archives."),
    ],
    catalog: CatalogsOption,
    out: Annotated[
        Path, typer.Option(metavar="DIR|FILE.tar.gz", help="Folder or archive to write; it must not exist.")
    ],
    radius: Annotated[
        float | None, typer.Option(metavar="ARCSEC", help="Search radius. Default: the catalogue's own, 1 for ALLWISE.")
    ] = None,
    output_schema: Annotated[
        OutputSchema, typer.Option(help="Packets' own schemas plus xmatches, or ZTF 3.3 for all.")
    ] = OutputSchema.INPUT,
    rejects: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for packets that cannot be used. Default: OUT.rejects.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Alerts to match at once.")] = 5000,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    tls: TlsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object of counts.")] = False,
) -> None:
    """Crossmatch ZTF alert packets; the same packets come out, with xmatches.

    Packets that cannot be read, or have no valid position, are set aside untouched with the reason beside them; that is
    no failure.

    Example: xmatch-hats alerts ./packets --catalog ./allwise --out ./matched
    """
    from xmatch_hats.alerts.sources import is_small

    if workers is None and scheduler is None and is_small(packets, CLUSTER_FROM_BYTES):
        workers = 0
    begin_workers(scheduler, workers)
    from xmatch_hats.matching.crossmatcher import Crossmatcher
    from xmatch_hats.step.files import run_alerts

    targets = [_with_columns(target) for target in parse_targets(catalog, radius_arcsec=radius)]
    with (
        make_scheduler(scheduler, workers, tls) as where,
        Crossmatcher(targets, scheduler=where) as crossmatcher,
        _progress() as advance,
    ):
        report = run_alerts(packets, crossmatcher, out, rejects, output_schema.value, batch=batch, progress=advance)
    typer.echo(json.dumps(report.to_json()) if as_json else summary(report, out))


def _with_columns(target: CatalogTarget) -> CatalogTarget:
    from xmatch_hats.alerts.xmatches import default_columns
    from xmatch_hats.catalogs.copy import LocalCopy, open_copy

    copy = target.copy if isinstance(target.copy, LocalCopy) else open_copy(target.copy)
    definition = copy.definition
    preferred = (definition.xmatch_columns or definition.default_columns) if definition else ()
    columns = default_columns(copy.schema, preferred)
    if not preferred and (left := [n for n in copy.schema.names if n not in columns and not n.startswith("_")]):
        note(f"{copy.name}: xmatches cannot hold columns of these types, left out: {', '.join(left)}")
    return replace(target, copy=copy, columns=columns)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Show the count and the rate on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} alerts"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("alerts", total=None, rate="")

        def advance(count: int) -> None:
            progress.advance(task, count)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance


def summary(report: AlertsReport, out: Path) -> str:
    """Say in a few lines what became of the alerts."""
    rate = report.alerts / report.seconds if report.seconds else 0.0
    figures = report.to_json()
    lines = [
        f"{report.alerts:,} alerts of {report.packets:,} packets in {report.seconds:.1f} s ({rate:,.0f}/s) -> {out}",
        f"  all: {_counts(figures)}",
    ]
    lines += [f"  {name}: {_counts(counts)}" for name, counts in figures["catalogs"].items()]
    for name, count in report.nulled.items():
        if count:
            lines.append(f"  {name}: {count:,} values beyond a 32-bit float became null")
    if report.dropped:
        lines.append("  fields that the output schema cannot hold, by alerts that had them:")
        lines += [f"    {path}: {count:,}" for path, count in sorted(report.dropped.items())]
    if report.skipped:
        lines.append(f"  passed over: {report.skipped:,} hidden files, links or devices")
    if report.rejects is not None:
        lines.append(f"  rejects, with their reasons: {report.rejects}")
    return "\n".join(lines)


def _counts(figures: dict[str, int]) -> str:
    words = ("matched", "unmatched", "outside_coverage", "rejected")
    return ", ".join(f"{figures[word]:,} {word.replace('_', '-')}" for word in words)
