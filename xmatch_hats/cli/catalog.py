"""``xmatch-hats catalog``: make, check, describe, list and switch local copies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmatch_hats.cli.catalog_pull import pull
from xmatch_hats.cli.completion import complete_catalog, complete_name, complete_version
from xmatch_hats.cli.console import show_json, working
from xmatch_hats.cli.destination import (
    AsOption,
    MadeJsonOption,
    OutOption,
    SideCopyOption,
    choose_destination,
    registered_name,
    tell_finished,
)
from xmatch_hats.cli.options import NumericArgs
from xmatch_hats.cli.progress import StageProgress
from xmatch_hats.display import told_bytes
from xmatch_hats.errors import UsageError, XmatchError

if TYPE_CHECKING:
    from xmatch_hats.catalogs.registry import Entry
    from xmatch_hats.catalogs.verify import VerifyReport

catalog = typer.Typer(
    help="Make, verify, describe, list and switch local copies of catalogues.\n\nExample: xmatch-hats catalog list",
    no_args_is_help=True,
)

CopyArgument = Annotated[
    str,
    typer.Argument(
        metavar="DIR_OR_NAME", help="Folder of a copy, NAME, or NAME@VERSION.", autocompletion=complete_catalog
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@catalog.command("import")
def import_(  # noqa: PLR0913, options are the arguments of a command
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Tables, or folders of tables.")],
    out: OutOption = None,
    name: AsOption = None,
    definition: Annotated[
        str | None, typer.Option("--definition", metavar="NAME|FILE", help="Default: the one that fits.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B,...|all", help="Default: the definition's default columns.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option("--margin", metavar="ARCSEC", help="Largest radius to be searched. Default: 10.")
    ] = None,
    coverage: Annotated[
        str, typer.Option("--coverage", metavar="rows|all-sky|FILE", help="Where the sources are complete.")
    ] = "rows",
    partition_rows: Annotated[
        int | None, typer.Option("--partition-rows", min=1, help="Most rows of one file.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Worker processes; 0: none. Default: by size.")
    ] = None,
    hdu: Annotated[int | None, typer.Option("--hdu", min=0, help="FITS only: number of the table's HDU.")] = None,
    side_copy: SideCopyOption = True,
    as_json: MadeJsonOption = False,
) -> None:
    """Import tables into a verified local copy with a margin cache.

    Reads IPAC tables, CSV, AllWISE bulk files, parquet, FITS, FITS_LDAC and VOTable, compressed too. Coverage says
    where an empty answer means that nothing is there: rows estimates it, all-sky is the whole sky, FILE is a MOC.

    Example: xmatch-hats catalog import field.tbl --coverage field_moc.fits --out ./allwise
    """
    destination = choose_destination(out, name)
    from xmatch_hats.catalogs.importer import build_copy

    with StageProgress() as progress:
        copy = build_copy(
            sources,
            destination,
            progress=progress,
            definition=definition,
            columns=_columns(columns),
            margin_arcsec=margin,
            coverage=coverage,
            partition_rows=partition_rows,
            workers=workers,
            hdu=hdu,
            side_copy=side_copy,
            name=registered_name(name),
        )
    tell_finished(copy, name, as_json=as_json)


catalog.command(cls=NumericArgs)(pull)


@catalog.command()
def verify(
    copy: CopyArgument,
    checksums: Annotated[bool, typer.Option(help="Read every byte and compare with the manifest.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Check that every row is where it belongs, margins are complete, and all metadata agree; exit 1 if not.

    Example: xmatch-hats catalog verify ./allwise --no-checksums
    """
    from xmatch_hats.catalogs.registry import resolve
    from xmatch_hats.catalogs.verify import verify_copy

    with working(f"verifying {copy}"):
        report = verify_copy(resolve(copy), checksums=checksums)
    if as_json:
        typer.echo(json.dumps(_report_json(report)))
    else:
        _show_report(report)
    if not report.passed:
        raise typer.Exit(1)


@catalog.command()
def info(copy: CopyArgument, as_json: JsonOption = False) -> None:
    """Tell what a copy is: rows, columns, coverage, margin, where it came from.

    Example: xmatch-hats catalog info ./allwise
    """
    from xmatch_hats.catalogs.copy import open_copy
    from xmatch_hats.catalogs.info import describe

    with working(f"looking at {copy}"):
        described = describe(open_copy(copy))
    if as_json:
        typer.echo(json.dumps(described))
    else:
        _show_info(described)


@catalog.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the named copies: those under the catalogues' root folder, and the homes of the configuration file.

    Example: xmatch-hats catalog list
    """
    from xmatch_hats.catalogs.registry import list_copies
    from xmatch_hats.config import load_config

    rows = [_entry_json(entry) for entry in list_copies()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(f"no catalogues under {load_config().catalogs_root}: make one with `xmatch-hats catalog import`")
        return
    _show_table(
        ("name", "version", "current", "rows", "columns", "size", "coverage", "note"),
        [
            (
                row["name"],
                row["version"] or "",
                "*" if row["current"] else "",
                _number(row["rows"]),
                _number(row["columns"]),
                "" if row["bytes"] is None else told_bytes(row["bytes"]),
                _coverage_text(row["coverage"]),
                row["error"] or ("" if row["version"] else row["path"]),
            )
            for row in rows
        ],
    )


@catalog.command()
def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered name.", autocompletion=complete_name)],
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="One of its versions.", autocompletion=complete_version)
    ],
) -> None:
    """Make a version the one that its name leads to; the same way leads back. Readers find one or the other.

    Example: xmatch-hats catalog use allwise 20261121T021500Z
    """
    from xmatch_hats.catalogs import registry

    registry.use(name, version)
    typer.echo(f"{name} is now at version {version}")


@catalog.command("side-copy")
def side_copy_(
    copy: CopyArgument,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B,...|all", help="Default: those that streams ask for.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a copy's side copy, anew if it has one: chosen columns uncompressed, so that streams map instead of decode.

    Streams that ask for other columns, or find no side copy, read the copy itself, more slowly.

    Example: xmatch-hats catalog side-copy allwise --columns designation,w1mpro,w2mpro
    """
    if remove and columns is not None:
        raise UsageError("what is removed has no columns", hint="give either --columns or --remove")
    from xmatch_hats.catalogs.copy import open_copy
    from xmatch_hats.catalogs.side_copy import build_side_copy, remove_side_copy

    opened = open_copy(copy)
    if remove:
        remove_side_copy(opened)
        if as_json:
            show_json({"path": str(opened.path), "side_copy": None})
            return
        typer.echo(f"{opened.path}: has no side copy")
        return
    chosen = _columns(columns)
    with StageProgress() as progress:
        progress.stage("side copy", len(opened.partitions))
        side = build_side_copy(
            opened, opened.column_names(None) if chosen == "all" else chosen, lambda done, _: progress.step(done)
        )
    if as_json:
        made = {"folder": str(side.folder), "bytes": side.bytes, "columns": side.columns}
        show_json({"path": str(opened.path), "side_copy": made})
        return
    typer.echo(f"{side.folder}: {told_bytes(side.bytes)}, {len(side.columns)} columns of {opened.total_rows:,} rows")


def _columns(text: str | None) -> list[str] | Any:
    """Value of ``--columns`` as an import takes it."""
    if text is None or text.strip() == "all":
        return None if text is None else "all"
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or "all" in names:
        raise UsageError("give column names, or all alone", place=f"--columns {text}", value=text)
    return names


def _report_json(report: VerifyReport) -> dict[str, Any]:
    checks = [
        {
            "name": check.name,
            "title": check.title,
            "state": check.state.lower(),
            "looked_at": check.looked_at,
            "unit": check.unit,
            "faults": check.faults,
            "places": [str(place) for place in check.places],
            "note": check.note,
        }
        for check in report.checks
    ]
    return {"path": str(report.path), "passed": report.passed, "seconds": report.seconds, "checks": checks}


def _show_report(report: VerifyReport) -> None:
    _show_table(
        ("check", "result", "looked at", "faults", "what"),
        [
            (
                check.name,
                check.state,
                f"{check.looked_at:,} {check.unit}",
                _number(check.faults),
                check.title + (f" ({check.note})" if check.note else ""),
            )
            for check in report.checks
        ],
    )
    for check in report.failed:
        for place in check.places:
            typer.echo(f"{check.name}: {place}")
    typer.echo(f"{report.path}: {'passed' if report.passed else 'FAILED'} in {report.seconds:.1f} s")


def _show_info(described: dict[str, Any]) -> None:
    orders = ", ".join(f"{count} of order {order}" for order, count in described["partitions_by_order"].items())
    margin = described["margin_arcsec"]
    facts = {
        "copy": described["path"],
        "name": described["name"],
        "definition": f"{described['definition']}: {described['title']}" if described["definition"] else "none",
        "citation": described["citation"],
        "rows": f"{described['rows']:,}",
        "partitions": f"{described['partitions']:,} ({orders})",
        "margin": f"{margin:g} arcsec" if margin else "none: nothing can be searched across borders",
        "coverage": _coverage_text(described["coverage"]),
        "positions": f"{described['ra_column']}, {described['dec_column']}; ties by {described['id_column'] or 'none'}",
        "size": told_bytes(described["bytes"]),
        "side copy": _side_copy_text(described["side_copy"]),
        "created": described["created"] or "not by this program",
        "software": ", ".join(f"{name} {number}" for name, number in (described["software"] or {}).items()),
        "sources": _sources_text(described["sources"]),
    }
    if described["dropped_rows"] and described["dropped_rows"]["count"]:
        facts["left out"] = f"{described['dropped_rows']['count']} rows without a position"
    for key, value in facts.items():
        if value:
            typer.echo(f"{key:<11} {value}")
    columns = [(c["name"], c["type"], c["unit"], c["vizier"] or "", c["description"]) for c in described["columns"]]
    _show_table(("column", "type", "unit", "VizieR", "description"), columns)


def _side_copy_text(side: dict[str, Any] | None) -> str:
    if side is None:
        return "none"
    return side["error"] or f"{told_bytes(side['bytes'])} of the size: {', '.join(side['columns'])}"


def _sources_text(sources: list[dict[str, Any]] | None) -> str:
    if not sources:
        return ""
    more = f" and {len(sources) - 3:,} more" if len(sources) > 3 else ""
    return ", ".join(source["path"] for source in sources[:3]) + more


def _entry_json(entry: Entry) -> dict[str, Any]:
    """One line of the list; a damaged copy is listed with what is wrong, not left out."""
    from xmatch_hats.catalogs.info import size_on_disk

    row: dict[str, Any] = {
        "name": entry.name,
        "version": entry.version,
        "current": entry.current,
        "path": str(entry.path),
        **dict.fromkeys(("definition", "rows", "columns", "bytes", "coverage", "error")),
    }
    try:
        copy = entry.open()
    except XmatchError as error:
        return row | {"error": str(error)}
    return row | {
        "definition": copy.definition.name if copy.definition else None,
        "rows": copy.total_rows,
        "columns": len(copy.schema) - 1,
        "bytes": size_on_disk(copy),
        "coverage": copy.manifest.coverage.model_dump(mode="json") if copy.manifest else None,
    }


def _coverage_text(coverage: dict[str, Any] | None) -> str:
    if coverage is None:
        return "not recorded"
    estimated = ", estimated" if coverage["estimated"] else ""
    return f"{coverage['kind']}{estimated}, {coverage['sky_fraction']:.4%} of the sky"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _show_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on the terminal; columns between tabs into a pipe, where a fixed width would cut them."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        for row in [names, *rows]:
            typer.echo("\t".join(row))
        return
    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
