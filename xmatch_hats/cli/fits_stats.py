"""``xmatch-hats fits-stats``: numbers and pictures of selected rows of FITS tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.console import note, show_json, show_rows
from xmatch_hats.cli.options import OverwriteOption, require_folder, split_columns
from xmatch_hats.display import counted
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    from xmatch_hats.images.statistics import Statistics


def fits_stats(  # noqa: PLR0913, options are the arguments of a command
    tables: Annotated[list[Path], typer.Argument(metavar="TABLES...", help="FITS files, as match-fits writes them.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files; made if need be.")],
    select: Annotated[
        str | None, typer.Option("--select", metavar="EXPR", help="Rows that count: 'MAG_AUTO < 21 and FLAGS == 0'.")
    ] = None,
    magnitude: Annotated[
        str | None, typer.Option("--magnitude", metavar="COL", help="Default: MAG_AUTO, or the first in mag.")
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option("--colour", metavar="A,B", help="A - B. Default: the magnitude and the catalogue's first."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option("--columns", metavar="A,B,...", help="More columns to tell of.")
    ] = None,
    hdu: Annotated[int | None, typer.Option("--hdu", min=0, help="Number of the table's HDU.")] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="What file names begin with.")] = "stat",
    number: Annotated[
        str | None, typer.Option("--number", metavar="REGEX", help="Its groups are the number in a file's name.")
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw, or tell numbers alone.")] = True,
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all numbers.")] = False,
) -> None:
    """Tell and draw what the selected rows of FITS tables are like.

    Of each table PREFIX-NUMBER.txt has numbers, mean, mode, standard deviation
    and extremes, and PNGs show magnitudes, positions, colours, and the offsets
    of matches. Files that exist are kept. Exits with 1 if a table has none.

    Example: xmatch-hats fits-stats matched_cats/cat_matched-51.fits --select 'distance < 0.5' --out stats
    """
    require_folder(out)
    pair = None if colour is None else [name.strip() for name in colour.split(",")]
    if pair is not None and not (len(pair) == 2 and all(pair)):
        raise UsageError("a colour is two columns", place=f"--colour {colour}", hint="as in MAG_AUTO,w1mpro")
    from xmatch_hats.cli.progress import StageProgress
    from xmatch_hats.images.fits_images import Naming
    from xmatch_hats.images.statistics import StatisticsJob, write_statistics

    job = StatisticsJob(
        out,
        Naming(prefix, number, may_lack=True),
        select,
        magnitude,
        (pair[0], pair[1]) if pair else None,
        tuple(split_columns(columns) or ()),
        hdu,
        pictures,
        overwrite,
    )
    with StageProgress() as progress:
        progress.stage("counting", len(tables))
        told = write_statistics(tables, job, on_table=progress.step)
    _tell(told, as_json, out)
    if pictures and not as_json:
        _tell_undrawn(told)
    if any(not file.file for file in told):
        raise typer.Exit(1)


def _tell_undrawn(told: list[Statistics]) -> None:
    """Say where there is nothing to draw."""
    from xmatch_hats.images.statistics import StatisticsOutcome

    empty = [made for made in told if made.outcome is StatisticsOutcome.WRITTEN and not made.selected]
    if empty:
        note(f"no pictures of {counted(len(empty), 'table')}: no row is selected")


def _tell(told: list[Statistics], as_json: bool, out: Path) -> None:
    import pyarrow as pa

    failed = [made for made in told if not made.file]
    counts = ("rows", "selected", "matched")
    rows = [
        {"file": made.file, "table": made.table}
        | {key: getattr(made, key) for key in counts}
        | {"outcome": made.outcome.value, "reason": made.reason}
        for made in told
    ]
    if as_json:
        more = [{"pictures": list(made.pictures), "numbers": made.numbers} for made in told]
        files = [row | extra for row, extra in zip(rows, more, strict=True)]
        show_json({"out": str(out), "complete": not failed, "files": files})
        return
    show_rows(pa.Table.from_pylist(rows), first=["file", "rows", "selected", "matched", "outcome"])
    for made in failed:
        note(f"no file for {made.table}: {made.reason}")
