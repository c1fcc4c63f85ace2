"""Whether a database has what a batch needs, told before the first batch comes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Column, Connection, DateTime, Insert, Table, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from xmatch_hats.errors import StoreError
from xmatch_hats.store.statements import inserted_columns
from xmatch_hats.store.tables import ALL_TABLES, METADATA

_INIT = "`xmatch-hats db init`"


def check_file(url: URL, place: str) -> None:
    """Refuse a SQLite file that does not exist: connecting would make an empty one.

    Raises
    ------
    StoreError
        There is no such file.
    """
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        raise StoreError("the database does not exist", place=place, hint=f"make it with {_INIT}")


def missing_tables(connection: Connection) -> list[str]:
    """Names of the tables that are not there, in the order in which they can be made."""
    inspector = inspect(connection)
    return [table.name for table in ALL_TABLES if not inspector.has_table(table.name)]


def check_tables(connection: Connection, place: str) -> None:
    """Look for the tables and their columns.

    Raises
    ------
    StoreError
        A table or a column is missing, or a table has a column that must be filled and cannot be.
    """
    if missing := missing_tables(connection):
        raise StoreError(
            f"there is no table {', '.join(missing)}", place=place, hint=f"make what is missing with {_INIT}"
        )
    inspector = inspect(connection)
    for table in ALL_TABLES:
        _check_columns(table, inspector.get_columns(table.name), place)


def _check_columns(table: Table, found: list[ReflectedColumn], place: str) -> None:
    names = {column["name"] for column in found}
    if missing := [column.name for column in table.columns if column.name not in names]:
        raise StoreError(
            f"the table {table.name} lacks the columns {', '.join(missing)}",
            place=place,
            hint=f"add them, or move the table away and make a new one with {_INIT}",
        )
    written = inserted_columns(table)
    if demanding := [column["name"] for column in found if column["name"] not in written and _must_be_given(column)]:
        raise StoreError(
            f"the table {table.name} demands values that the step does not have: {', '.join(demanding)}",
            place=place,
            hint="give these columns defaults, or let them be null",
        )


def _must_be_given(column: ReflectedColumn) -> bool:
    has_default = column.get("default") is not None or column.get("identity") or column.get("computed")
    return not (column["nullable"] or has_default)


def check_statements(connection: Connection, statements: Mapping[str, Insert], place: str) -> None:
    """Have the database plan the statements of a batch, without executing them.

    This finds what a list of columns does not tell: keys that are missing, types that do not fit, rights not granted.

    Raises
    ------
    StoreError
        The database refuses one.
    sqlalchemy.exc.DBAPIError
        The connection was lost.
    """
    for name, statement in statements.items():
        table = METADATA.tables[name]
        samples = {column: _sample(table.c[column]) for column in inserted_columns(table)}
        compiled = statement.compile(dialect=connection.dialect, column_keys=list(samples))
        order = compiled.positiontup
        parameters = samples if order is None else tuple(samples[column] for column in order)
        key = ", ".join(table.primary_key.columns.keys())
        try:
            connection.exec_driver_sql(f"EXPLAIN {compiled}", parameters)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            raise StoreError(
                f"the table {name} cannot take the rows of the step: {explain(error)}",
                place=place,
                hint=f"it needs the key ({key}), columns of fitting types, and the right to INSERT, SELECT and UPDATE",
            ) from error


def _sample(column: Column[Any]) -> Any:
    """Any value of a column's type, since a null would fit all of them."""
    return None if isinstance(column.type, DateTime) else column.type.python_type()


def explain(error: SQLAlchemyError) -> str:
    """Tell in one line what a driver said; it never holds the password."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    told = getattr(cause, "diag", None)
    # Without the statement and the arrows under it, which psycopg adds.
    parts = [told.message_primary, told.message_detail] if told and told.message_primary else [str(cause)]
    return " ".join(" ".join(filter(None, parts)).split()).rstrip(".") or type(cause).__name__
