"""``xmatch-hats match``: a table in, the same table with a catalogue's columns out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from xmatch_hats.cli.console import check_output, note, working
from xmatch_hats.cli.options import (
    CatalogsOption,
    ColumnsOption,
    OverwriteOption,
    SchedulerOption,
    TlsOption,
    WorkersOption,
    as_options,
    begin_workers,
    make_scheduler,
    parse_targets,
    split_columns,
)
from xmatch_hats.cli.progress import StageProgress
from xmatch_hats.display import counted
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from xmatch_hats.catalogs.copy import LocalCopy
    from xmatch_hats.matching.result import MatchResult
    from xmatch_hats.matching.targets import CatalogTarget

CLUSTER_FROM_ROWS = 300_000
"""Tables of fewer rows are matched sooner by threads of this process than worker processes take to start."""


class Join(StrEnum):
    """Which rows of the input the output keeps."""

    LEFT = "left"
    INNER = "inner"


class Names(StrEnum):
    """Whose names the catalogue's columns get."""

    CANONICAL = "canonical"
    VIZIER = "vizier"


def match(  # noqa: PLR0913, options are the arguments of a command
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, FITS, FITS_LDAC, VOTable, ECSV, parquet, IPAC.")],
    catalog: CatalogsOption,
    radius: Annotated[float, typer.Option("--radius", metavar="ARCSEC", help="Search radius.")],
    out: Annotated[Path, typer.Option("--out", metavar="TABLE", help="Output; its suffix tells the format.")],
    ra: Annotated[str | None, typer.Option("--ra", metavar="COL", help="Right ascension, degrees.")] = None,
    dec: Annotated[str | None, typer.Option("--dec", metavar="COL", help="Declination, degrees.")] = None,
    hdu: Annotated[int | None, typer.Option("--hdu", min=0, help="FITS only: number of the table's HDU.")] = None,
    neighbors: Annotated[int | None, typer.Option("--neighbors", min=1, metavar="K", help="The K nearest.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All within the radius.")] = False,
    min_radius: Annotated[float, typer.Option("--min-radius", metavar="ARCSEC", help="Only beyond this.")] = 0.0,
    join: Annotated[Join, typer.Option("--join", help="Keep all rows, or the matched ones.")] = Join.LEFT,
    names: Annotated[Names, typer.Option("--names", help="Names of the catalogue's columns.")] = Names.CANONICAL,
    columns: ColumnsOption = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    tls: TlsOption = None,
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Match a table of positions with one or more catalogues.

    The output has the columns of TABLE and of the catalogue, _dist_arcsec and
    _status, in the order of TABLE; with K or all also _rank, 1 for the nearest.
    Positions are found by name (ra/dec, RAJ2000/DEJ2000, ...) or by UCD.

    Example: xmatch-hats match t.csv --catalog ./allwise --radius 1 --out m.fits
    """
    n_neighbors = wanted_neighbors(neighbors, every, catalogs=len(catalog))
    if (ra is None) != (dec is None):
        raise UsageError("only one coordinate column is named", hint="give both --ra and --dec, or neither")
    check_output(out, overwrite, table)
    targets = parse_targets(catalog, radius_arcsec=radius, columns=split_columns(columns))
    titles = _vizier_names(targets) if names is Names.VIZIER else None
    with working(f"reading {table}"):
        rows, positions = _read(table, hdu, ra, dec)
    if workers is None and scheduler is None and rows.num_rows < CLUSTER_FROM_ROWS:
        workers = 0
    begin_workers(scheduler, workers)
    from xmatch_hats.matching.assemble import joined_table
    from xmatch_hats.matching.crossmatcher import Crossmatcher
    from xmatch_hats.tables.write import write_table

    with (
        StageProgress() as progress,
        make_scheduler(scheduler, workers, tls) as where,
        Crossmatcher(targets, n_neighbors=n_neighbors, min_radius_arcsec=min_radius, scheduler=where) as matcher,
    ):
        progress.stage("matching", rows.num_rows)
        # To tell how far it is takes smaller chunks, which cost time: not where nobody looks.
        results = matcher.match(*positions, progress=progress.advance if progress.bar else None)
    joined = joined_table(rows, results, join=join.value, names=titles)
    write_table(joined, out, overwrite=overwrite)
    _report(results, out, joined.num_rows, join, as_json)
    if not as_json:
        _tell_estimates(targets, results)


def wanted_neighbors(neighbors: int | None, every: bool, catalogs: int = 1) -> int | None:
    """How many neighbours are asked for; None is all."""
    if neighbors is not None and every:
        raise UsageError("--neighbors and --all exclude each other", hint="leave one out")
    if catalogs > 1 and (every or (neighbors or 1) > 1):
        raise UsageError(
            "several neighbours of several catalogues do not fit into one table",
            place="--all" if every else f"--neighbors {neighbors}",
            hint="match one catalogue at a time",
        )
    return None if every else neighbors or 1


def _read(path: Path, hdu: int | None, ra: str | None, dec: str | None) -> tuple[pa.Table, tuple[Any, Any]]:
    """Whole table, which stays in memory, and its positions in degrees; a missing one is NaN, which is rejected."""
    import pyarrow as pa

    from xmatch_hats.errors import TableError
    from xmatch_hats.tables.coordinates import find_coordinates
    from xmatch_hats.tables.read import open_table

    source = open_table(path, hdu=hdu)
    table = source.read()
    schema = table.schema
    if table.num_rows == 0:
        # Text without rows does not tell types: any column may be a number.
        schema = pa.schema([field.with_type(pa.float64()) for field in schema])
    try:
        pair = find_coordinates(schema, ra, dec, told=source.positions)
    except TableError as error:
        hint = as_options(error.hint)
        raise TableError(error.message, place=error.place or path, hint=hint, value=error.value) from error
    first, second = (table[name].cast(pa.float64()).to_numpy() for name in pair)
    return table, (first, second)


def _vizier_names(targets: Sequence[CatalogTarget]) -> dict[str, dict[str, str]]:
    """VizieR's names by catalogue and column."""
    titles = {}
    for target in targets:
        copy, name = cast("LocalCopy", target.copy), str(target.name)
        if copy.definition is None:
            raise UsageError(
                f"no VizieR names are known of {name}: its copy has no definition",
                place="--names vizier",
                hint="leave it out, or import the catalogue with a --definition",
            )
        titles[name] = {column: copy.definition.vizier_name(column) for column in copy.schema.names}
    return titles


def _tell_estimates(targets: Sequence[CatalogTarget], results: Mapping[str, MatchResult]) -> None:
    """Say where positions count as outside of a coverage that nobody recorded: many may only be near its border."""
    from xmatch_hats.matching.status import MatchStatus

    for target in targets:
        copy, name = cast("LocalCopy", target.copy), str(target.name)
        if copy.coverage.estimated and results[name].counts()[MatchStatus.OUTSIDE_COVERAGE.key]:
            note(
                f"note: the coverage of {name} is estimated from its rows, and cautious at the border "
                "(`catalog import --coverage` takes a map)"
            )


def _report(results: Mapping[str, MatchResult], out: Path, rows: int, join: Join, as_json: bool) -> None:
    """Tell the counts: one line for each catalogue, or one JSON object on the standard output."""
    import numpy as np

    from xmatch_hats.matching.status import MatchStatus, combine_statuses
    from xmatch_hats.sphere import PositionFault

    counts = {name: result.counts() for name, result in results.items()}
    if as_json:
        total = np.bincount(combine_statuses([result.status for result in results.values()]), minlength=4)
        whole = {"in": int(total.sum())} | {status.key: int(total[status]) for status in MatchStatus}
        typer.echo(json.dumps(whole | {"catalogs": counts, "rows": rows, "out": str(out)}))
        return
    for name, numbers in counts.items():
        told = ", ".join(f"{numbers[status.key]:,} {status.label}" for status in MatchStatus)
        note(f"{name}: {counted(numbers['in'], 'position')}, {told}")
    faults = np.bincount(next(iter(results.values())).faults, minlength=len(PositionFault))
    for fault in PositionFault:
        if fault and faults[fault]:
            kept = "kept with _status rejected" if join is Join.LEFT else "left out"
            note(f"{counted(int(faults[fault]), 'row')} {kept}: {fault.reason}")
    note(f"{counted(rows, 'row')} written to {out}")
