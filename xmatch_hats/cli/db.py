"""``xmatch-hats db``: make and check the tables that the step writes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xmatch_hats.store.store import Store

db = typer.Typer(help="Make and check the tables that the step writes to.", no_args_is_help=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings of the step in TOML; the environment wins."),
]


@db.command()
def init(config: ConfigOption = None) -> None:
    """Create the tables that are missing, and check those that are there, which stay as they are.

    The database is that of the step's settings: ENGINE (postgresql or sqlite), DB_HOST, DB_PORT, DB_NAME, DB_USER and
    DB_PASSWORD, or DB_PASSWORD_FILE.

    Example: xmatch-hats db init --config step.toml
    """
    with _open_store(config) as store:
        created = store.init()
        store.check()
    typer.echo(f"{store.place}: {'made ' + ', '.join(created) if created else 'all tables are there already'}")


@db.command()
def check(config: ConfigOption = None) -> None:
    """Connect, and see that every table can take what the step writes; nothing is changed.

    Example: xmatch-hats db check --config step.toml
    """
    with _open_store(config) as store:
        store.check()
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
