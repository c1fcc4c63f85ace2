"""``xmatch-hats match-fits``: tables of an image pipeline, matched with a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmatch_hats.cli.completion import complete_catalog
from xmatch_hats.cli.console import note, show_json, show_rows
from xmatch_hats.cli.options import (
    ColumnsOption,
    OverwriteOption,
    as_options,
    parse_targets,
    require_folder,
    split_columns,
)
from xmatch_hats.display import counted
from xmatch_hats.errors import TableError, UsageError

if TYPE_CHECKING:
    from xmatch_hats.images.match_tables import MatchedFile


def match_fits(  # noqa: PLR0913, options are the arguments of a command
    tables: Annotated[
        list[Path], typer.Argument(metavar="TILES...", help="FITS_LDAC, or FITS with a table; .gz, too.")
    ],
    catalog: Annotated[
        str,
        typer.Option(
            "--catalog",
            metavar="[NAME=]DIR",
            help="Copy to match with: a folder or a registered name.",
            autocompletion=complete_catalog,
        ),
    ],
    radius: Annotated[float, typer.Option("--radius", metavar="ARCSEC", help="Search radius.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files; made if need be.")],
    columns: ColumnsOption = None,
    hdu: Annotated[
        int | None, typer.Option("--hdu", min=0, help="Number of the table's HDU. Default: LDAC_OBJECTS, RESULTS, ....")
    ] = None,
    ra: Annotated[str | None, typer.Option("--ra", metavar="COL", help="Right ascension, degrees.")] = None,
    dec: Annotated[str | None, typer.Option("--dec", metavar="COL", help="Declination, degrees.")] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="What file names begin with.")
    ] = "cat_matched",
    number: Annotated[
        str | None, typer.Option("--number", metavar="REGEX", help="Its groups are the number in a file's name.")
    ] = None,
    keep_unmatched: Annotated[
        bool, typer.Option("--keep-unmatched", help="Keep all rows, with a column of statuses.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All pairs within the radius, with ranks.")] = False,
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with a list of files.")] = False,
) -> None:
    """Match tables of an image pipeline with a catalogue, each into a FITS file.

    Files are PREFIX-NUMBER.fits, also where nothing matches: extension MATCHED
    has the table's columns, the catalogue's and distance in arcsec; EPOCH_n are
    carried along. Files that exist are kept. Exits with 1 if a table has none.

    Example: xmatch-hats match-fits cat-51.fits --catalog ./allwise --radius 1 --out matched_cats
    """
    require_folder(out)
    if (ra is None) != (dec is None):
        raise UsageError("only one coordinate column is named", hint="give both --ra and --dec, or neither")
    (target,) = parse_targets([catalog], radius_arcsec=radius, columns=split_columns(columns))
    from xmatch_hats.cli.progress import StageProgress
    from xmatch_hats.images.fits_images import Naming
    from xmatch_hats.images.match_tables import MatchJob, match_tables

    naming = Naming(prefix, number, may_lack=True)
    job = MatchJob(out, naming, hdu, ra, dec, keep_unmatched, every, overwrite)
    try:
        with StageProgress() as progress:
            progress.stage("matching", len(tables))
            told = match_tables(tables, target, job, on_table=progress.step)
    except TableError as error:
        hint = as_options(error.hint)
        raise TableError(error.message, place=error.place, hint=hint, value=error.value) from error
    facts = {"catalog": target.name, "radius_arcsec": radius}
    _tell(told, facts, job.keep_unmatched, as_json, out)
    if any(not file.file for file in told):
        raise typer.Exit(1)


def _tell(told: list[MatchedFile], facts: dict[str, Any], keeps: bool, as_json: bool, out: Path) -> None:
    import pyarrow as pa

    keys = ("in", "matched", "unmatched", "outside_coverage", "rejected")
    rows = [
        {"file": file.file, "table": file.table, "rows": file.rows}
        | {key: file.counts.get(key) for key in keys}
        | {"outcome": file.outcome.value, "reason": as_options(file.reason)}
        for file in told
    ]
    failed = [file for file in told if not file.file]
    total = {key: sum(file.counts.get(key, 0) for file in told) for key in keys}
    if as_json:
        show_json({"out": str(out), "complete": not failed} | facts | total | {"files": rows})
        return
    schema = pa.schema([(key, pa.int64() if key in (*keys, "rows") else pa.string()) for key in rows[0]])
    show_rows(pa.Table.from_pylist(rows, schema=schema), first=["file", "in", "matched", "outside_coverage", "outcome"])
    kept = "kept with their status" if keeps else "left out"
    if outside := total["outside_coverage"]:
        where = f"outside the coverage of {facts['catalog']}"
        note(f"{counted(outside, 'row')} {where}, where it is not known whether anything matches: {kept}")
    if rejected := total["rejected"]:
        note(f"{counted(rejected, 'row')} without a position: {kept}")
    for file in failed:
        note(f"no file for {file.table}: {as_options(file.reason)}")
