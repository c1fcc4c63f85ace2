"""``xmatch-hats db``: make and check the tables that the step writes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmatch_hats.cli.console import show_json

if TYPE_CHECKING:
    from xmatch_hats.store.store import Store

db = typer.Typer(
    help="Make and check the tables that the step writes to.\n\nExample: xmatch-hats db check --config step.toml",
    no_args_is_help=True,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings of the step in TOML; the environment wins."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@db.command()
def init(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Create the tables that are missing, and check those that are there, which stay as they are.

    The database is that of the step's settings: ENGINE (postgresql or sqlite), DB_HOST, DB_PORT, DB_NAME, DB_USER and
    DB_PASSWORD, or DB_PASSWORD_FILE.

    Example: xmatch-hats db init --config step.toml
    """
    with _open_store(config) as store:
        created = store.init()
        store.check()
    if as_json:
        show_json({"database": store.place, "created": list(created)})
        return
    typer.echo(f"{store.place}: {'made ' + ', '.join(created) if created else 'all tables are there already'}")


@db.command()
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Connect, and see that every table can take what the step writes; nothing is changed.

    Example: xmatch-hats db check --config step.toml
    """
    with _open_store(config) as store:
        store.check()
    if as_json:
        show_json({"database": store.place, "ok": True})
        return
    typer.echo(f"{store.place}: all tables are there, and can be written to")


@contextmanager
def _open_store(config: Path | None) -> Iterator[Store]:
    from xmatch_hats.step.database import open_store
    from xmatch_hats.step.settings import load_settings

    store = open_store(load_settings(config))
    try:
        yield store
    finally:
        store.close()
