"""``xmatch-hats star-cat``: star catalogues of images, for the masks of an image pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.completion import complete_catalog
from xmatch_hats.cli.console import note, show_json, show_rows
from xmatch_hats.cli.options import OverwriteOption, require_folder, split_target
from xmatch_hats.display import counted
from xmatch_hats.images.kinds import Kind

if TYPE_CHECKING:
    from xmatch_hats.images.star_catalogs import StarFile


def star_cat(  # noqa: PLR0913, options are the arguments of a command
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="FITS files; .fz, too.")],
    catalog: Annotated[
        str,
        typer.Option(
            "--catalog",
            metavar="[NAME=]DIR",
            help="Copy to search: a folder or a registered name.",
            autocompletion=complete_catalog,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files; made if need be.")],
    kind: Annotated[
        Kind | None,
        typer.Option("--kind", help="Every image HDU is a CCD, or the first is all. Default: by their number."),
    ] = None,
    magnitudes: Annotated[
        list[str] | None,
        typer.Option(
            "--magnitudes",
            metavar="MAP",
            help="Columns for Fmag, Jmag, Vmag, Nmag: Vmag=gmag,Nmag=w1mpro+2.7. Default: the definition's.",
        ),
    ] = None,
    stars: Annotated[
        str | None, typer.Option("--stars", metavar="EXPR", help="What makes Clas 0, 'ext_flg < 2'; others get 1.")
    ] = None,
    faint: Annotated[
        float | None, typer.Option("--faint", metavar="MAG", help="Leave out rows with a fainter mean magnitude.")
    ] = None,
    number: Annotated[
        str | None, typer.Option("--number", metavar="REGEX", help="Its groups are the number in a file's name.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="What file names begin with.")] = "star_cat",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Write files for images partly outside the coverage, too.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with a list of files.")] = False,
) -> None:
    """Write a star catalogue for each CCD or tile, as mask modules read them.

    Files are PREFIX-NUMBER-CCD.cat or PREFIX-NUMBER.cat. Files that exist are
    kept. Exits with 1 if an image has no file.

    Example: xmatch-hats star-cat image-51.fits --catalog ./allwise --out star_cats
    """
    from xmatch_hats.catalogs.copy import open_copy
    from xmatch_hats.catalogs.magnitudes import split_map
    from xmatch_hats.cli.progress import StageProgress
    from xmatch_hats.images.fits_images import Naming
    from xmatch_hats.images.star_catalogs import StarJob, write_star_catalogs
    from xmatch_hats.images.star_choice import StarChoice

    require_folder(out)
    name, place = split_target(catalog)
    job = StarJob(out, Naming(prefix, number), kind, allow_partial, overwrite)
    pairs = split_map(magnitudes, "--magnitudes") if magnitudes else None
    choice = StarChoice.of(open_copy(place), pairs, stars, faint)
    with StageProgress() as progress:
        progress.stage("searching", len(images))
        told = write_star_catalogs(images, choice, job, catalog=name, on_image=progress.step)
    _tell(told, as_json, out)
    if any(file.outcome.is_failure for file in told):
        raise typer.Exit(1)


def _tell(told: list[StarFile], as_json: bool, out: Path) -> None:
    import pyarrow as pa

    rows = [
        {
            "file": file.file, "image": file.image, "rows": file.rows, "stars": file.stars,
            "outcome": file.outcome.value, "reason": file.reason,
        }
        for file in told
    ]  # fmt: skip
    missing = [file for file in told if file.outcome.is_failure]
    if as_json:
        show_json({"out": str(out), "complete": not missing, "files": rows})
        return
    show_rows(pa.Table.from_pylist(rows), first=["file", "image", "rows", "stars", "outcome"])
    for reason, count in _counts(missing).items():
        note(f"no file for {counted(count, 'image')}: {reason}")


def _counts(files: list[StarFile]) -> dict[str, int]:
    reasons = [file.reason for file in files]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
