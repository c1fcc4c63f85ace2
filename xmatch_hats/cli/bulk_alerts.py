"""``xmatch-hats bulk alerts`` and ``bulk merge``: nights of alert packets, one by one and together."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.bulk_options import (
    DashboardOption,
    DryRunOption,
    RunBar,
    bulk_scheduler,
    parse_size,
    tell_dashboard,
    tell_estimate,
)
from xmatch_hats.cli.options import (
    CatalogsOption,
    ColumnsOption,
    SchedulerOption,
    TlsOption,
    WorkersOption,
    begin_workers,
    parse_targets,
    split_columns,
)
from xmatch_hats.cli.progress import StageProgress
from xmatch_hats.display import counted
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    from xmatch_hats.bulk.alerts.run import ArchiveReport

CLUSTER_FROM_BYTES = 256 << 20
"""Archives of fewer bytes are matched sooner by threads of this process than worker processes take to start."""


LEAST_BYTES = 640 << 20
"""Of a worker process: what Python, its libraries, open partitions and slices of 8 MiB take, with room to spare."""

MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory-per-worker",
        metavar="SIZE",
        help="Most memory of each worker process started here, such as 4GiB, at least 640MiB: above it, the worker is "
        "started again, and its slice done again.",
    ),
]


class Form(StrEnum):
    """What the rows of an archive become."""

    HATS = "hats"
    PARQUET = "parquet"


def alerts(  # noqa: PLR0913, options are the arguments of a command
    archives: Annotated[
        list[str], typer.Argument(metavar="ARCHIVE...", help=".tar.gz, .tgz or .tar; paths, https:// or s3:// URLs.")
    ],
    catalog: CatalogsOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the outputs of all archives.")],
    radius: Annotated[
        float | None, typer.Option(metavar="ARCSEC", help="Search radius. Default: the catalogue's own, 1 for ALLWISE.")
    ] = None,
    columns: ColumnsOption = None,
    alert_columns: Annotated[
        list[str] | None,
        typer.Option("--alert-columns", metavar="A,B,...", help="Fields of candidate beside the usual ones."),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="A HATS collection, or a parquet dataset.")] = Form.HATS,
    packets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write archives of the packets with xmatches.")
    ] = None,
    dedup: Annotated[bool, typer.Option("--dedup", help="Leave out alerts of a candid that was there before.")] = False,
    night: Annotated[
        str | None, typer.Option(metavar="YYYYMMDD", help="Night of archives whose names tell none.")
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Do again what is done, and replace it.")] = False,
    dry_run: DryRunOption = False,
    workers: WorkersOption = None,
    memory_per_worker: MemoryOption = None,
    scheduler: SchedulerOption = None,
    dashboard: DashboardOption = False,
    tls: TlsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each archive.")] = False,
) -> None:
    """Match nightly archives of alert packets; the same command takes up a call that was killed.

    Each archive becomes DIR/night=YYYYMMDD/archive=NAME with one row per alert.
    One that is there with the same inputs and settings is not done again; one of
    others is replaced. What cannot be used is kept in _bulk/rejects with reasons.
    Until it is whole, its work lies in the hidden folder .archive=NAME.matching
    beside it, also after a kill: the same command goes on there.

    Example: xmatch-hats bulk alerts ztf_public_20180619.tar.gz --catalog ./allwise --out ./nights
    """
    from xmatch_hats.bulk.alerts.archives import open_archives

    memory = _memory(memory_per_worker, scheduler, workers)
    found = open_archives(archives, night)
    if (
        workers is None
        and scheduler is None
        and memory is None
        and sum(archive.size for archive in found) < CLUSTER_FROM_BYTES
    ):
        workers = 0
    if not dry_run:
        begin_workers(scheduler, workers)
    from xmatch_hats.bulk.alerts.run import AlertsSettings, crossmatch_alerts

    targets = parse_targets(catalog, radius_arcsec=radius, columns=split_columns(columns))
    settings = AlertsSettings(split_columns(alert_columns, "--alert-columns"), form.value, dedup, packets, redo)
    if dry_run:
        from xmatch_hats.bulk.alerts.estimate import estimate_alerts

        count = workers or os.cpu_count() or 1
        tell_estimate([("alerts", estimate_alerts(found, targets, out, settings, workers=count))], as_json=as_json)
        return
    reports = []
    with bulk_scheduler(scheduler, workers, tls, memory=memory, dashboard=dashboard) as where, RunBar() as bar:
        tell_dashboard(where, bar)
        for report in crossmatch_alerts(found, targets, out, settings, scheduler=where, listener=bar):
            reports.append(report)
            typer.echo(json.dumps(report.to_json()) if as_json else _told(report))
    if not all(report.is_whole for report in reports):
        raise typer.Exit(1)


def _memory(text: str | None, scheduler: str | None, workers: int | None) -> int | None:
    """Bytes that each worker process may take, where that can be promised."""
    memory, option = parse_size(text), "--memory-per-worker"
    if memory is None:
        return None
    if scheduler is not None:
        hint = "start them with `dask worker --memory-limit`"
        raise UsageError("workers of a scheduler have the bound they were started with", place=option, hint=hint)
    if workers == 0:
        hint = "give --workers 1, or leave it out"
        raise UsageError("threads of this process cannot be bounded", place=option, hint=hint)
    if memory < LEAST_BYTES:
        words = f"a worker needs {LEAST_BYTES >> 20} MiB of memory at least, not {memory >> 20} MiB"
        raise UsageError(words, place=option, value=memory)
    return memory


def merge(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of `bulk alerts`.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Collection to write. Default: DIR/merged.")
    ] = None,
    dedup: Annotated[
        bool, typer.Option("--dedup", help="Keep one alert of each candid: smallest archive name, then member.")
    ] = False,
    mixed: Annotated[
        bool,
        typer.Option("--mixed", help="Also merge archives matched with other radii or versions of a catalogue."),
    ] = False,
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Make one HATS collection of the alerts of all archives; an earlier one is replaced.

    Example: xmatch-hats bulk merge ./nights --dedup
    """
    from xmatch_hats.bulk.alerts.merge import merge_nights

    with StageProgress() as progress:
        report = merge_nights(folder, out, dedup=dedup, mixed=mixed, workers=workers, progress=progress)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
        return
    typer.echo(f"{counted(report.rows, 'alert')} of {counted(report.archives, 'archive')} -> {report.path}")
    removed = ", removed" if report.duplicates_removed else ""
    typer.echo(f"  {counted(report.duplicates, 'duplicate')}{removed}")
    for text in report.damaged:
        typer.echo(f"  {text}")


def _told(report: ArchiveReport) -> str:
    """Say in a few lines what became of an archive."""
    from xmatch_hats.bulk.alerts.published import staged

    summary = report.summary
    if summary is None:
        lines = [
            f"{report.archive}: {counted(len(report.failed), 'slice')} failed, no output; the same command goes on",
            f"  what is done lies in {staged(report.path)}",
        ]
        return "\n".join([*lines, *(f"  {name}: {failure.reason}" for name, failure in report.failed.items())])
    state = " (done before)" if report.was_done else ""
    lines = [
        f"{report.archive}: {counted(summary['rows'], 'row')} -> {report.path}{state}",
        f"  all: {_counts(summary)}",
    ]
    lines += [f"  {name}: {_counts(counts)}" for name, counts in summary["catalogs"].items()]
    if summary["duplicates"]:
        removed = ", removed" if summary["duplicates_removed"] else ", kept"
        lines.append(f"  {counted(summary['duplicates'], 'duplicate')}{removed}")
    if summary["damage"] is not None:
        lines.append(f"  the archive {summary['damage']}")
    if summary["rejected"]:
        lines.append(f"  rejects, with their reasons: {report.path / '_bulk' / 'rejects'}")
    return "\n".join(lines)


def _counts(figures: dict[str, int]) -> str:
    words = ("matched", "unmatched", "outside_coverage", "rejected")
    return ", ".join(f"{figures[word]:,} {word.replace('_', '-')}" for word in words)
