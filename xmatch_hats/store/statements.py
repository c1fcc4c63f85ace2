"""The INSERTs of a batch. All of them can be repeated: a second time changes nothing.

PostgreSQL and SQLite share the syntax; SQLAlchemy has a class of its own for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Insert, Table, case, null, or_
from sqlalchemy.dialects import postgresql, sqlite

from xmatch_hats.store.tables import OBJECT, STEP, WRITE_ORDER, XMATCH

_INSERTS: Mapping[str, Callable[[Table], Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_OF_OTHERS = ("class_catalog", "period")
"""Columns of ``xmatch`` that the step leaves empty. What others wrote there tells of a source, and goes with it."""


def batch_inserts(dialect: str) -> dict[str, Insert]:
    """Statements by table, in the order of their execution; each takes a list of rows.

    Parameters
    ----------
    dialect : str
        ``postgresql`` or ``sqlite``.
    """
    return {table.name: _keep(dialect, table) if table is OBJECT else _upsert(dialect, table) for table in WRITE_ORDER}


def step_insert(dialect: str) -> Insert:
    """Statement that adds a version of the step."""
    return _keep(dialect, STEP)


def inserted_columns(table: Table) -> list[str]:
    """Columns that rows for a table have."""
    return [column.name for column in table.columns if table is not XMATCH or column.name not in _OF_OTHERS]


def _keep(dialect: str, table: Table) -> Insert:
    return _INSERTS[dialect](table).on_conflict_do_nothing(index_elements=list(table.primary_key))


def _upsert(dialect: str, table: Table) -> Insert:
    statement = _INSERTS[dialect](table)
    new = statement.excluded
    names = [name for name in inserted_columns(table) if not table.c[name].primary_key]
    values: dict[str, ColumnElement[Any]] = {name: new[name] for name in names}
    if table is XMATCH:
        same = table.c.oid_catalog == new.oid_catalog
        values |= {name: case((same, table.c[name]), else_=null()) for name in _OF_OTHERS}
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_=values,
        # Most rows of a replay are there already; rewriting them would only bloat the table and its log.
        where=or_(*(table.c[name].is_distinct_from(new[name]) for name in names)),
    )
