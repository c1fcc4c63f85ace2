"""Where a new copy goes: a folder, or a version of a registered name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.console import show_json
from xmatch_hats.display import counted
from xmatch_hats.errors import UsageError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.copy import LocalCopy

OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the copy; must not exist.")]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME[@VERSION]", help="Register the copy under a name; version: UTC time by default."
    ),
]

SideCopyOption = Annotated[
    bool,
    typer.Option("--side-copy/--no-side-copy", help="Make the uncompressed copy of some columns that streams read."),
]
MadeJsonOption = Annotated[
    bool, typer.Option("--json", help="End with the JSON object of `catalog info`, and `current`.")
]


def choose_destination(out: Path | None, name: str | None) -> Path:
    """Folder that ``--out`` or ``--as`` means.

    Raises
    ------
    UsageError
        Neither or both are given, or the name cannot be one.
    CatalogError
        The version exists.
    """
    if (out is None) == (name is None):
        raise UsageError("say where the copy goes, once", hint="give either --out DIR or --as NAME[@VERSION]")
    if out is not None:
        return out.expanduser().absolute()
    from xmatch_hats.catalogs.registry import new_version_path

    return new_version_path(str(name))


def registered_name(name: str | None) -> str | None:
    """The name of ``--as`` without its version."""
    return name.partition("@")[0] if name else None


def tell_finished(copy: LocalCopy, name: str | None, *, as_json: bool = False) -> None:
    """Make a registered copy current if it is the first of its name, and tell what there is now."""
    from xmatch_hats.catalogs.side_copy import SideCopy

    if as_json:
        from xmatch_hats.catalogs.info import describe
        from xmatch_hats.catalogs.registry import after_publish

        current = None if name is None else after_publish(copy.path)
        show_json(describe(copy) | {"current": current})
        return
    typer.echo(
        f"{copy.path}: {counted(copy.total_rows, 'row')} in {counted(len(copy.partitions), 'partition')}, "
        f"margin {copy.margin_arcsec:g} arcsec, coverage {copy.coverage.kind}"
        + (" (estimated)" if copy.coverage.estimated else "")
        + (f", side copy {side.bytes / 1e6:,.1f} MB" if (side := SideCopy.find(copy)) else "")
    )
    if name is None:
        return
    from xmatch_hats.catalogs.registry import after_publish

    plain = registered_name(name)
    if after_publish(copy.path):
        typer.echo(f"{plain} is now at version {copy.path.name}")
    else:
        typer.echo(f"it waits: `xmatch-hats catalog use {plain} {copy.path.name}` makes it current")
