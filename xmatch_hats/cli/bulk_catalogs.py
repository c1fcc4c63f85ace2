"""``xmatch-hats bulk catalogs``: one whole catalogue with another."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.bulk_options import (
    DashboardOption,
    DryRunOption,
    MemoryOption,
    RunBar,
    bulk_scheduler,
    parse_size,
    tell_dashboard,
    tell_estimate,
)
from xmatch_hats.cli.completion import complete_catalog
from xmatch_hats.cli.console import note
from xmatch_hats.cli.match import Join, wanted_neighbors
from xmatch_hats.cli.options import SchedulerOption, TlsOption, WorkersOption, begin_workers, split_columns
from xmatch_hats.display import counted
from xmatch_hats.errors import CoverageError, UsageError

if TYPE_CHECKING:
    from xmatch_hats.bulk.catalogs.job import Joined
    from xmatch_hats.catalogs.region import Region

CLUSTER_FROM_ROWS = 2_000_000
"""Catalogues of fewer rows together are matched sooner by threads of this process than worker processes start."""


def catalogs(  # noqa: PLR0913, options are the arguments of a command
    left: Annotated[
        str,
        typer.Argument(
            metavar="LEFT",
            help="HATS catalogue, a folder or a registered name; or a table or tables.",
            autocompletion=complete_catalog,
        ),
    ],
    right: Annotated[
        str, typer.Argument(metavar="RIGHT", help="HATS catalogue to match with.", autocompletion=complete_catalog)
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write; it must not exist.")],
    radius: Annotated[
        float, typer.Option("--radius", metavar="ARCSEC", help="Search radius, beyond RIGHT's margin too.")
    ],
    neighbors: Annotated[int | None, typer.Option("--neighbors", min=1, metavar="K", help="The K nearest.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All within the radius.")] = False,
    left_columns: Annotated[
        list[str] | None, typer.Option("--left-columns", metavar="A,B,...", help="Columns of LEFT; default all.")
    ] = None,
    right_columns: Annotated[
        list[str] | None, typer.Option("--right-columns", metavar="A,B,...", help="Columns of RIGHT; default all.")
    ] = None,
    left_where: Annotated[
        str | None,
        typer.Option("--left-where", metavar="EXPR", help="Only these rows of LEFT, a pandas query: 'n_det > 50'."),
    ] = None,
    right_where: Annotated[
        str | None, typer.Option("--right-where", metavar="EXPR", help="Match with these rows of RIGHT only.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="EXPR", help="Write only these rows, by the output's columns.")
    ] = None,
    join: Annotated[Join, typer.Option("--join", help="Keep all rows of LEFT, or the matched ones.")] = Join.INNER,
    cone: Annotated[
        tuple[float, float, float] | None,
        typer.Option("--cone", metavar="RA DEC RADIUS_DEG", help="Only rows of LEFT in a cone, degrees."),
    ] = None,
    moc: Annotated[
        Path | None, typer.Option("--moc", metavar="FILE", help="Only rows of LEFT in the cells of a MOC.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", metavar="ARCSEC", help="Margin of the output. Default: that of LEFT, or 10."),
    ] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    tls: TlsOption = None,
    memory: MemoryOption = None,
    dashboard: DashboardOption = False,
    dry_run: DryRunOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Match every row of one HATS catalogue with those of another.

    The output is a HATS collection with a margin cache, in the partitions of
    LEFT: its columns, those of RIGHT (a name that is taken gets _NAME),
    _dist_arcsec, with --join left _status, and with K or all _rank. Rows of LEFT
    without a position go to rejected.parquet in it. The same command takes up a
    call that was killed or failed; its work waits in hidden folders beside DIR,
    .NAME.matching and .NAME.left-*.

    EXPR is a pandas query that tells of each row by itself: no mean(), no lookup
    in another column, no %. A row whose answer is missing, as that of a
    comparison with a null, does not count; but a null is no text and in no list,
    so that name != 'a' and fid not in [1] keep it. NaN is a number that equals
    none. Names with spaces, and class and the like, go in backticks.

    A radius wider than the margin cache of RIGHT is said, and rows of
    neighbouring partitions are read in its stead.

    Example: xmatch-hats bulk catalogs ./ztf ./allwise --radius 1 --out ./matched
    """
    n_neighbors = wanted_neighbors(neighbors, every)
    left_names = split_columns(left_columns, "--left-columns")
    right_names = split_columns(right_columns, "--right-columns")
    memory_bytes = parse_size(memory)
    from xmatch_hats.bulk.catalogs.left_tables import is_tables
    from xmatch_hats.bulk.catalogs.memory import Budget
    from xmatch_hats.bulk.catalogs.run import prepare
    from xmatch_hats.bulk.catalogs.settings import Settings
    from xmatch_hats.matching.rule import MatchRule

    if dry_run and is_tables(left):
        raise UsageError(
            "tables must be imported before a dry run", place=left, hint="see `xmatch-hats catalog import`"
        )
    settings = Settings(
        MatchRule(radius, n_neighbors), join.value, left_names, right_names, left_where, right_where, where,
        _region(cone, moc), margin,
    )  # fmt: skip
    budget = Budget.of(memory_bytes)
    with RunBar() as bar:
        job = prepare(left, right, out, settings, budget, listener=bar, workers=workers)
        if workers is None and scheduler is None and sum(copy.total_rows for copy in job.copies) < CLUSTER_FROM_ROWS:
            workers = 0
        if not dry_run:
            begin_workers(scheduler, workers)
        with bulk_scheduler(scheduler, workers, tls, memory=memory_bytes, dashboard=dashboard) as where_to_work:
            if dry_run:
                slots = where_to_work.homes() if scheduler or workers is None else max(workers, 1)
                tell_estimate([("matching", job.estimate(slots))], as_json=as_json)
                return
            tell_dashboard(where_to_work, bar)
            joined = job.run(where_to_work)
    _report(joined, str(job.copies[0].name), as_json)


def _region(cone: tuple[float, float, float] | None, moc: Path | None) -> Region | None:
    if cone is not None and moc is not None:
        raise UsageError("give one region: --cone or --moc")
    from xmatch_hats.catalogs.region import Cone, MocRegion

    if cone is not None:
        return Cone(*cone)
    if moc is None:
        return None
    try:
        return MocRegion.from_file(moc)
    except CoverageError as error:
        raise UsageError(f"{error.place}: {error.message}", place="--moc", hint=error.hint, value=moc) from error


def _report(joined: Joined, left: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(joined) | {"path": str(joined.path)}))
        return
    out_of = f"{joined.matched:,} matched, {joined.unmatched:,} unmatched, {joined.outside_coverage:,} outside-coverage"
    note(
        f"{counted(joined.left_rows, 'row')} of {left}: {out_of}, {joined.rejected:,} rejected, "
        f"{joined.left_out:,} left out"
    )
    if joined.units_skipped:
        note(f"{joined.units_skipped:,} of {counted(joined.units, 'unit')} had been done before")
    note(f"{counted(joined.rows, 'row')} in {counted(joined.partitions, 'partition')} written to {joined.path}")
