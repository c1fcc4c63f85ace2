"""``xmatch-hats bulk report``: what became of whole nights and catalogues, in numbers and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.console import note, working
from xmatch_hats.display import counted

if TYPE_CHECKING:
    from xmatch_hats.bulk.report.run import Report


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Output of `bulk alerts`, `bulk merge` or `bulk catalogs`.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for report.html, report.json and PNGs. Default: DIR_report."),
    ] = None,
    recount: Annotated[
        bool, typer.Option("--recount", help="Also read the archives of alerts again, and count their members.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the accounting as one JSON object; pictures only with --out.")
    ] = False,
) -> None:
    """Account for every input of nights or catalogues that were matched, and draw what became of them.

    in = matched + unmatched + outside-coverage + rejected, compared with what
    lies in the files and with the inputs' own counts: a difference is an error.
    Pictures show the matches on the sky, their separations beside what chance
    would give, their offsets, magnitudes and colours.

    Example: xmatch-hats bulk report ./nights --out ./nights_report
    """
    from xmatch_hats.bulk.report.run import default_target, make_report

    if out is None and not as_json:
        out = default_target(folder)
    with working("reading the rows"):
        made = make_report(folder, out, recount=recount)
    if as_json:
        typer.echo(json.dumps(made.to_json()))
    else:
        _tell(made)
    for check in made.accounting.differences:
        note(str(check))
    made.require_whole()


def _tell(made: Report) -> None:
    accounting = made.accounting
    typer.echo(f"in all: {_counts(accounting.total())}")
    for name, facts in made.matches.items():
        typer.echo(f"{name}: {_counts(accounting.total_of(name))}")
        if (expected := facts["expected_by_chance"]) is not None:
            typer.echo(f"  expected by chance: {expected:,.1f}")
    for text in accounting.damaged:
        typer.echo(text)
    for text in (*made.outputs.remarks, *accounting.unchecked):
        note(text)
    for name in made.outputs.unfinished:
        note(f"{name}: is not finished, and left out")
    if not accounting.differences:
        typer.echo(f"{counted(len(accounting.checks), 'check')}, all agree")
    if made.page is not None:
        typer.echo(f"-> {made.page}")


def _counts(figures: dict[str, int]) -> str:
    words = {"matched": "matched", "unmatched": "unmatched", "outside_coverage": "outside-coverage"}
    words |= {"rejected": "rejected", "left_out": "left out"}
    told = " + ".join(f"{figures[key]:,} {word}" for key, word in words.items() if key in figures)
    return f"{figures['in']:,} = {told}"
