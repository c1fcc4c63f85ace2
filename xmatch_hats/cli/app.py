"""The root of the command line: verbs by name, errors in one or two lines, exit codes.

A verb's module imports nothing heavy at its top (LSDB alone takes seconds), so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from xmatch_hats import __version__
from xmatch_hats.cli.alerts import alerts
from xmatch_hats.cli.catalog import catalog
from xmatch_hats.cli.cone import box, cone
from xmatch_hats.cli.demo import demo
from xmatch_hats.cli.match import match
from xmatch_hats.cli.options import NumericArgs
from xmatch_hats.errors import XmatchError

app = typer.Typer(
    help="A local crossmatch engine for alert streams and surveys: exact, fast, and without an external service.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"xmatch-hats {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Accept the options that belong to no verb."""


app.command()(demo)
app.command()(alerts)
app.command(cls=NumericArgs)(match)
app.command(cls=NumericArgs)(cone)
app.command(cls=NumericArgs)(box)
app.add_typer(catalog, name="catalog")


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    try:
        app(args=args, prog_name="xmatch-hats")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except XmatchError as error:
        typer.echo(f"xmatch-hats: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        typer.echo("xmatch-hats: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0
