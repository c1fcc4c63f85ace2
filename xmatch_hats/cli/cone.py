"""``xmatch-hats cone`` and ``xmatch-hats box``: the rows of a copy in a region of the sky."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.console import check_output, note, show_json, show_rows, working
from xmatch_hats.cli.options import CatalogOption, ColumnsOption, OverwriteOption, split_columns
from xmatch_hats.display import counted
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from xmatch_hats.catalogs.copy import LocalCopy
    from xmatch_hats.matching.search import Box, Cone

OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="TABLE", help="Write there, in the format of the suffix; default: print."),
]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object: rows, and whether the region is covered.")
]


def cone(
    ra: Annotated[float, typer.Argument(metavar="RA", help="Degrees.")],
    dec: Annotated[float, typer.Argument(metavar="DEC", help="Degrees.")],
    radius: Annotated[float, typer.Argument(metavar="RADIUS_ARCSEC", help="Arcseconds, up to 648000 (the sky).")],
    catalog: CatalogOption,
    columns: ColumnsOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the sources within a radius of a position, the nearest first.

    Prints a table on a terminal and CSV into a pipe; with --out writes CSV,
    FITS, VOTable, ECSV or parquet.

    Example: xmatch-hats cone 10.5 -5.25 30 --catalog ./allwise
    """
    from xmatch_hats.catalogs.copy import open_copy
    from xmatch_hats.matching.search import Cone, cone_rows

    region = Cone(ra, dec, radius)
    _check(out, overwrite, as_json)
    copy = open_copy(catalog)
    with working("searching"):
        rows = cone_rows(copy, region, split_columns(columns))
    if as_json:
        _tell_json(copy, region, rows)
        return
    _deliver(copy, region, rows, out, overwrite)


def box(  # noqa: PLR0913, options are the arguments of a command
    ra_min: Annotated[float, typer.Argument(metavar="RA_MIN", help="Degrees.")],
    ra_max: Annotated[float, typer.Argument(metavar="RA_MAX", help="Degrees, reached eastward from RA_MIN.")],
    dec_min: Annotated[float, typer.Argument(metavar="DEC_MIN", help="Degrees.")],
    dec_max: Annotated[float, typer.Argument(metavar="DEC_MAX", help="Degrees.")],
    catalog: CatalogOption,
    columns: ColumnsOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the sources of a box in right ascension and declination, along the HEALPix curve.

    The box goes eastward from RA_MIN, through 0 where it exceeds RA_MAX.
    Output is that of the verb cone.

    Example: xmatch-hats box 359.5 0.5 -1 1 --catalog ./allwise --out o.fits
    """
    from xmatch_hats.catalogs.copy import open_copy
    from xmatch_hats.matching.search import Box, box_rows

    region = Box(ra_min, ra_max, dec_min, dec_max)
    _check(out, overwrite, as_json)
    copy = open_copy(catalog)
    with working("searching"):
        rows = box_rows(copy, region, split_columns(columns))
    if as_json:
        _tell_json(copy, region, rows)
        return
    _deliver(copy, region, rows, out, overwrite)


def _check(out: Path | None, overwrite: bool, as_json: bool) -> None:
    if out is None:
        return
    if as_json:
        raise UsageError("rows are either printed or written", place="--json", hint="give either --json or --out")
    check_output(out, overwrite)


def _tell_json(copy: LocalCopy, region: Cone | Box, rows: pa.Table) -> None:
    from xmatch_hats.matching.search import is_covered

    show_json({"catalog": str(copy.path), "covered": is_covered(copy, region), "rows": rows.to_pylist()})


def _deliver(copy: LocalCopy, region: Cone | Box, rows: pa.Table, out: Path | None, overwrite: bool) -> None:
    from xmatch_hats.matching.search import is_covered

    if out is None:
        label = copy.definition.label_column if copy.definition else None
        usual = copy.definition.xmatch_columns if copy.definition else ()
        show_rows(rows, first=["_dist_arcsec", *([label] if label else []), copy.ra_column, copy.dec_column, *usual])
    else:
        from xmatch_hats.tables.write import write_table

        write_table(rows, out, overwrite=overwrite)
        note(f"{counted(rows.num_rows, 'row')} written to {out}")
    if not is_covered(copy, region):
        known = "no recorded coverage" if copy.manifest is None else f"coverage: {copy.coverage.kind}"
        estimated = ", estimated" if copy.manifest is not None and copy.coverage.estimated else ""
        note(f"note: the region may reach beyond what the copy holds ({known}{estimated})")
