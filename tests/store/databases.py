"""What tests do to a database behind the store's back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

KEYS = {"object": ["oid"], "allwise": ["oid_catalog"], "xmatch": ["oid", "catid"], "step": ["step_id"]}


def tables_of(url, names=("object", "allwise", "xmatch"), columns="*") -> dict[str, list[dict[str, Any]]]:
    """Everything that a database holds, by key."""
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return {
            name: sorted(
                (dict(row) for row in connection.execute(sa.text(f"SELECT {columns} FROM {name}")).mappings()),
                key=lambda row, name=name: [row[key] for key in KEYS[name]],
            )
            for name in names
        }


def execute(url, *statements: str) -> None:
    """Execute statements in one transaction."""
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def in_threads(*tasks: Callable[[], object]) -> list[BaseException]:
    """Run tasks at once, and give what they raised."""
    with ThreadPoolExecutor(len(tasks)) as threads:
        futures = [threads.submit(task) for task in tasks]
        return [error for future in futures if (error := future.exception()) is not None]
