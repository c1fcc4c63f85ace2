"""The root of the command line: verbs by name, errors in one or two lines, exit codes.

A verb's module imports nothing heavy at its top (LSDB alone takes seconds), so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from xmatch_hats import __version__
from xmatch_hats.cli import PROGRAM
from xmatch_hats.cli.alerts import alerts
from xmatch_hats.cli.bulk import bulk
from xmatch_hats.cli.catalog import catalog
from xmatch_hats.cli.cone import box, cone
from xmatch_hats.cli.db import db
from xmatch_hats.cli.dead_letters import dead_letters
from xmatch_hats.cli.demo import demo
from xmatch_hats.cli.doctor import doctor
from xmatch_hats.cli.fits_stats import fits_stats
from xmatch_hats.cli.match import match
from xmatch_hats.cli.match_fits import match_fits
from xmatch_hats.cli.options import NumericArgs
from xmatch_hats.cli.run import run as run_step
from xmatch_hats.cli.star_cat import star_cat
from xmatch_hats.errors import XmatchError

PACKAGE = "xmatch_hats"

app = typer.Typer(
    help="A local crossmatch engine for alert streams and surveys: exact, fast, and without an external service."
    "\n\nExample: xmatch-hats demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Accept the options that belong to no verb."""


app.command()(demo)
app.command()(doctor)
app.command()(alerts)
app.command(cls=NumericArgs)(match)
app.command(cls=NumericArgs)(cone)
app.command(cls=NumericArgs)(box)
app.command("star-cat", cls=NumericArgs)(star_cat)
app.command("match-fits", cls=NumericArgs)(match_fits)
app.command("fits-stats")(fits_stats)
app.command("run")(run_step)
app.add_typer(catalog, name="catalog")
app.add_typer(bulk, name="bulk")
app.add_typer(db, name="db")
app.add_typer(dead_letters, name="dead-letters")


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done, 1 failed, 2 wrong use, 141 the reader of the output has left.
    """
    if f"_{PROGRAM}_COMPLETE".replace("-", "_").upper() in os.environ:
        app(prog_name=PROGRAM)  # a shell asks what may come next; this answers it and exits
    try:
        return _invoke(sys.argv[1:] if args is None else args)
    except TyperException as error:
        _tell_wrong_use(error)
        return error.exit_code
    except XmatchError as error:
        typer.echo(f"{PROGRAM}: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ModuleNotFoundError as error:
        if (error.name or PACKAGE).startswith(PACKAGE):
            raise
        typer.echo(f"{PROGRAM}: the library {error.name} is missing (see `{PROGRAM} doctor`)", err=True)
        return 1
    except OSError as error:
        # What no layer foresaw: a full disk, a name too long, a folder that vanished.
        place = f"{error.filename}: " if error.filename else ""
        typer.echo(f"{PROGRAM}: {place}{error.strerror or error}", err=True)
        return 1


def _invoke(args: list[str]) -> int:
    """Run a verb by hand: typer's own way reports a broken pipe as a failure, and wrong use in a box of many lines."""
    command = get_command(app)
    try:
        with command.make_context(PROGRAM, list(args)) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    # What is left in the buffer may meet a broken pipe, too.
    sys.stdout.flush()
    return 0


_JARGON = {
    "float_parsing": "is not a number",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "greater_than_equal": "is below {ge:g}",
}
"""What pydantic's kinds of errors mean, in words that go behind the value."""


def _without_jargon(error: TyperException) -> str:
    """Message of wrong use, with the value; the parser's words for it tell of its own insides."""
    message = error.format_message()
    errors = getattr(error.__cause__, "errors", None)
    if errors is None:
        return message
    first = errors()[0]
    if words := _JARGON.get(first["type"]):
        return f"{message.partition(': ')[0]}: {first['input']!r} {words.format(**first.get('ctx', {}))}"
    return message.replace("Value error, ", "")


def _tell_wrong_use(error: TyperException) -> None:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else PROGRAM
    # Without a message the help has been shown in its place.
    if message := " ".join(_without_jargon(error).split()).removesuffix("."):
        typer.echo(f"{path}: {message} (see {path} -h)", err=True)
