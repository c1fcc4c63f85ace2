"""``xmatch-hats dead-letters``: look at what could not be used, and run it through the step again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from xmatch_hats.cli.run import ConfigOption, ExactlyOnceOption, read_settings, stopping
from xmatch_hats.errors import UsageError

dead_letters = typer.Typer(
    help="Look at packets that could not be used, and run them again.\n\nExample: xmatch-hats dead-letters list --json",
    no_args_is_help=True,
)


@dead_letters.command("list")
def list_letters(
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show at most, the oldest first.")] = 1000,
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write the packets themselves into a new folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the dead letters: what they were, where they came from, and why they are dead.

    Example: xmatch-hats dead-letters list --config step.toml
    """
    from xmatch_hats.step.dead_letters import read_letters, save_letter
    from xmatch_hats.step.monitoring.logs import printable

    settings = read_settings(config)
    settings.require_complete()
    if save is not None and save.exists():
        raise UsageError("exists already", place=save, hint="name a folder that does not")
    shown = 0
    for letter in read_letters(settings, limit):
        shown += 1
        if save is not None:
            save_letter(letter, save)
        if as_json:
            typer.echo(json.dumps(letter.to_json()))
        else:
            again = f", tried {letter.attempts} times" if letter.attempts > 1 else ""
            text = f"{letter.source}  {letter.size:,} bytes{again}  {letter.error}: {letter.message}"
            # Anybody's bytes may stand in a reason, and in the headers of a topic.
            typer.echo(printable(text))
    if not as_json:
        typer.echo(f"{shown} dead letters in {settings.dead_letter_topic}", err=True)


@dead_letters.command()
def replay(
    config: ConfigOption = None,
    exactly_once: ExactlyOnceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object of counts.")] = False,
) -> None:
    """Run the dead letters that are there now through the step again, into its output topic.

    Each is tried once; what cannot be used still becomes a dead letter anew. Nothing goes to the topic it came from.

    Example: xmatch-hats dead-letters replay --config step.toml
    """
    from xmatch_hats.step.reading import dead_letter_reading
    from xmatch_hats.step.run import run_stream

    settings = read_settings(config, delivery="exactly-once" if exactly_once else None)
    settings.require_complete()
    # The step itself, which has the same settings, may be listening.
    settings = settings.model_copy(update={"http_port": None})
    with stopping(settings.stop_timeout) as stop:
        total = run_stream(settings, stop, reading=dead_letter_reading(settings))
        if as_json:
            counts = {"in": total.received, "out": total.out, "dead": total.dead, "skipped": total.skipped}
            typer.echo(json.dumps(counts))
            return
        typer.echo(
            f"{total.received} dead letters: {total.out} went out, {total.dead} are dead again, {total.skipped} skipped"
        )
