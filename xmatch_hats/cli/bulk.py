"""``xmatch-hats bulk``: whole catalogues at once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xmatch_hats.cli.console import counted, note, working
from xmatch_hats.cli.match import Join, wanted_neighbors
from xmatch_hats.cli.options import (
    SchedulerOption,
    TlsOption,
    WorkersOption,
    begin_workers,
    make_scheduler,
    split_columns,
)

CLUSTER_FROM_ROWS = 2_000_000
"""Catalogues of fewer rows together are matched sooner by threads of this process than worker processes start."""

bulk = typer.Typer(help="Match whole catalogues.", no_args_is_help=True)


@bulk.callback()
def root() -> None:
    """Match whole catalogues."""


@bulk.command()
def catalogs(  # noqa: PLR0913, options are the arguments of a command
    left: Annotated[str, typer.Argument(metavar="LEFT", help="HATS catalogue: a folder or a registered name.")],
    right: Annotated[str, typer.Argument(metavar="RIGHT", help="The one to match with.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write; it must not exist.")],
    radius: Annotated[float, typer.Option("--radius", metavar="ARCSEC", help="Search radius.")],
    neighbors: Annotated[int | None, typer.Option("--neighbors", min=1, metavar="K", help="The K nearest.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All within the radius.")] = False,
    left_columns: Annotated[
        list[str] | None, typer.Option("--left-columns", metavar="A,B,...", help="Columns of LEFT; default all.")
    ] = None,
    right_columns: Annotated[
        list[str] | None, typer.Option("--right-columns", metavar="A,B,...", help="Columns of RIGHT; default all.")
    ] = None,
    join: Annotated[Join, typer.Option("--join", help="Keep all rows of LEFT, or the matched ones.")] = Join.INNER,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    tls: TlsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Match every row of one HATS catalogue with those of another.

    The output is a HATS catalogue in the partitions of LEFT: its columns, those
    of RIGHT (a name that is taken gets _NAME), _dist_arcsec and, with K or all,
    _rank. The same command takes up a call that was killed.

    Example: xmatch-hats bulk catalogs ./ztf ./allwise --radius 1 --out ./matched
    """
    n_neighbors = wanted_neighbors(neighbors, every)
    columns = [split_columns(left_columns, "--left-columns"), split_columns(right_columns, "--right-columns")]
    from xmatch_hats.catalogs.copy import open_copy

    first, second = open_copy(left), open_copy(right)
    if workers is None and scheduler is None and first.total_rows + second.total_rows < CLUSTER_FROM_ROWS:
        workers = 0
    begin_workers(scheduler, workers)
    from xmatch_hats.bulk import crossmatch_catalogs

    with (
        working(f"matching {counted(first.total_rows, 'row')} of {first.name} with {second.name}"),
        make_scheduler(scheduler, workers, tls) as where,
    ):
        joined = crossmatch_catalogs(
            first,
            second,
            out,
            radius_arcsec=radius,
            n_neighbors=n_neighbors,
            left_columns=columns[0],
            right_columns=columns[1],
            join=join.value,
            scheduler=where,
        )
    if as_json:
        typer.echo(json.dumps(asdict(joined) | {"path": str(joined.path)}))
        return
    note(f"{counted(joined.left_rows, 'row')} of {first.name}: {joined.matched:,} matched")
    note(f"{counted(joined.rows, 'row')} in {counted(joined.partitions, 'partition')} written to {out}")
