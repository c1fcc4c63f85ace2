"""``xmatch-hats doctor``: what is installed, found and reachable, and what to do about what is not."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.completion import complete_catalog
from xmatch_hats.cli.console import working
from xmatch_hats.display import counted
from xmatch_hats.quiet import quiet

if TYPE_CHECKING:
    from xmatch_hats.doctor import Report


def doctor(
    catalog: Annotated[
        list[str] | None,
        typer.Option(
            "--catalog",
            metavar="DIR_OR_NAME",
            help="Look at this copy, too. Repeats.",
            autocompletion=complete_catalog,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings of the step in TOML, as of `run`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at software, catalogues, disk, memory, and the broker, database and Dask scheduler that settings name.

    Each line is ok, a warning or a problem, with what to do next below it. It changes nothing, waits for nobody longer
    than a minute in all, and exits with 1 if there is a problem.

    Example: xmatch-hats doctor --json
    """
    from xmatch_hats.doctor import examine

    # What is wrong is told in the report; librdkafka has many words of its own.
    with working("looking"), quiet("xmatch_hats", logging.CRITICAL):
        report = examine(tuple(catalog or ()), config)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        _tell(report)
    code = 0 if report.ok else 1
    if report.is_hanging:
        # Threads of libraries that wait with it are no daemons, and the end of the process would wait for them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise typer.Exit(code)


def _tell(report: Report) -> None:
    from xmatch_hats.doctor import State

    for symptom in report.symptoms:
        detail = " ".join(symptom.detail.split())
        typer.echo(f"{symptom.state:<8} {symptom.what}: {detail}")
        if symptom.todo:
            typer.echo(f"{'':<8} -> {symptom.todo}")
    problems, warnings = report.count(State.PROBLEM), report.count(State.WARNING)
    typer.echo(f"{counted(problems, 'problem') if problems else 'no problem'}, {counted(warnings, 'warning')}")
