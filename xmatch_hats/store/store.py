"""A database that batches are written to: each in one transaction, each as often as need be."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, func, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from xmatch_hats.errors import StoreError
from xmatch_hats.store import checking
from xmatch_hats.store.counts import StoreCounts
from xmatch_hats.store.facts import AlertFacts, CatalogMatches
from xmatch_hats.store.rows import batch_rows
from xmatch_hats.store.statements import batch_inserts, step_insert
from xmatch_hats.store.tables import ALL_TABLES, STEP
from xmatch_hats.store.urls import masked, parse_url

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 10
_WAIT_FOR_LOCK_SECONDS = 30
"""SQLite has one writer at a time."""
_POSTGRESQL_DEFAULTS = {
    "connect_timeout": _CONNECT_SECONDS,
    # Else the driver would encode names as the database does, and fail on its own where that cannot be.
    "client_encoding": "utf8",
    # A server that vanished without a word is noticed within a minute, not within the two hours of TCP.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 50_000,
    "fallback_application_name": "xmatch-hats",
}
_INIT_LOCK = 0x786D6174  # "xmat": any number that others will not choose
"""PostgreSQL's advisory lock that lets one process at a time create tables."""


class Store:
    """The tables ``object``, ``allwise``, ``xmatch`` and ``step`` in PostgreSQL or SQLite.

    A lost connection is an error of the call that meets it; the next call connects anew.

    Parameters
    ----------
    engine : sqlalchemy.Engine
    step_version : str
        Key of this step's row in ``step``.
    """

    def __init__(self, engine: Engine, step_version: str) -> None:
        self.place = masked(engine.url)
        self.step_version = step_version
        self._engine = engine
        self._inserts = batch_inserts(engine.dialect.name)

    def __repr__(self) -> str:
        return f"Store({self.place!r}, step_version={self.step_version!r})"

    @classmethod
    def open(cls, url: URL | str, *, step_version: str = "dev") -> Store:
        """Make a store; nothing connects before it must.

        Parameters
        ----------
        url : sqlalchemy.URL or str
            ``postgresql://USER:PASSWORD@HOST:PORT/NAME`` or ``sqlite:///PATH``. What libpq takes can be added as a
            query: ``?options=-csearch_path%3Dalerts`` writes to the tables of a schema.
        step_version : str, optional

        Raises
        ------
        ConfigError
            It is no URL, or of a database that is not supported.
        """
        parsed = parse_url(url)
        if parsed.get_backend_name() == "sqlite":
            arguments: dict[str, Any] = {"timeout": _WAIT_FOR_LOCK_SECONDS}
        else:
            arguments = {name: value for name, value in _POSTGRESQL_DEFAULTS.items() if name not in parsed.query}
        engine = create_engine(parsed, connect_args=arguments, pool_pre_ping=True, hide_parameters=True)
        return cls(engine, step_version)

    def check(self) -> None:
        """Connect, and see that everything can be written that a batch may need; nothing is changed.

        Raises
        ------
        StoreError
            The database cannot be reached, lacks a table, a column or a key, or refuses the statements of a batch.
        """
        statements = {**self._inserts, STEP.name: step_insert(self._engine.dialect.name)}
        checking.check_file(self._engine.url, self.place)
        with self._telling(), self._engine.connect() as connection:
            checking.check_tables(connection, self.place)
            checking.check_statements(connection, statements, self.place)

    def init(self) -> list[str]:
        """Create the tables that are missing; those that are there stay as they are.

        Returns
        -------
        list of str
            Names of those created.

        Raises
        ------
        StoreError
            The database cannot be reached, or refuses.
        """
        with self._telling(), self._engine.begin() as connection:
            _serialise(connection)
            missing = checking.missing_tables(connection)
            for table in ALL_TABLES:
                if table.name in missing:
                    connection.execute(CreateTable(table, if_not_exists=True))
        if missing:
            logger.info("tables made in %s: %s", self.place, ", ".join(missing))
        return missing

    def write_step(self) -> None:
        """Add this version of the step to ``step``, unless it is there.

        Raises
        ------
        StoreError
            The database cannot be reached, or refuses.
        """
        row = {
            "step_id": self.step_version,
            "name": self.step_version,
            "version": self.step_version,
            "comments": "",
            "date": datetime.now(UTC).replace(tzinfo=None),
        }
        with self._telling(), self._engine.begin() as connection:
            connection.execute(step_insert(self._engine.dialect.name), row)

    def write(self, alerts: Sequence[AlertFacts], matches: Sequence[CatalogMatches]) -> StoreCounts:
        """Write a batch in one transaction: all of it or nothing.

        Rows are written for matched alerts. The first matched alert of an object gives its row in ``object``, unless
        one is there; the last gives the rows in ``xmatch`` and in the catalogue's own table.

        Parameters
        ----------
        alerts : sequence of AlertFacts
            All alerts of the batch, in offset order within a partition.
        matches : sequence of CatalogMatches
            One for each catalogue.

        Returns
        -------
        StoreCounts
            Rows by table, and matched alerts that have none, by reason.

        Raises
        ------
        StoreError
            The database cannot be reached, or refuses. Whether the batch is in it is then unknown where the connection
            was lost; writing it again is always right.
        UsageError
            `CatalogMatches.rows` lacks a column, or `CatalogMatches.table` is none that is known.
        """
        batch = batch_rows(alerts, matches)
        if any(batch.tables.values()):
            with self._telling(), self._engine.begin() as connection:
                for name, statement in self._inserts.items():
                    if rows := batch.tables.get(name):
                        connection.execute(statement, rows)
        return batch.counts

    def close(self) -> None:
        """Close the connections; a store that is used again connects anew."""
        self._engine.dispose()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what SQLAlchemy and the drivers raise into errors of this package."""
        try:
            yield
        except SQLAlchemyError as error:
            raise StoreError(checking.explain(error), place=self.place, hint=_way_out(error)) from error


def _way_out(error: SQLAlchemyError) -> str:
    if isinstance(error, IntegrityError | ProgrammingError | DataError):
        return "`xmatch-hats db check` tells whether the tables fit"
    if not isinstance(error, DBAPIError):
        return ""
    if isinstance(error.orig, sqlite3.Error):
        return "see that the file and its folder can be written; `xmatch-hats db check` tells whether the tables fit"
    if error.connection_invalidated or error.statement is None:
        return "see that the server is up, and that host, port, name, user and password are right"
    return ""


def _serialise(connection: Connection) -> None:
    """Let nobody else create tables at the same time: two processes would both find them missing."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_INIT_LOCK)))
    else:
        # The file keeps this mode; readers then do not stop the writer.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
