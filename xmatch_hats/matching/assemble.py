"""The form of a matched table: the input's columns, the catalogues' columns, distances, statuses and ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.errors import UsageError
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.status import STATUS_LABELS

__all__ = [
    "DISTANCE",
    "JOINS",
    "RANK",
    "RESULT_METADATA",
    "STATUS",
    "added_columns",
    "catalog_names",
    "check_join",
    "joined_table",
    "result_names",
    "take",
]

Join = Literal["left", "inner"]
JOINS: tuple[Join, ...] = ("left", "inner")

Names = Mapping[str, str] | Mapping[str, Mapping[str, str]]
"""What to call columns: by their names in the copy, or by catalogue and name."""

Rows = TypeVar("Rows", pa.Table, pa.Array, pa.ChunkedArray)

DISTANCE, STATUS, RANK = "_dist_arcsec", "_status", "_rank"

RESULT_METADATA = {
    DISTANCE: {b"unit": b"arcsec", b"ucd": b"pos.angDistance", b"description": b"Separation from the catalogue's row"},
    STATUS: {b"ucd": b"meta.code.status", b"description": b"matched, unmatched, outside-coverage or rejected"},
    RANK: {b"ucd": b"meta.number", b"description": b"1 for the nearest row of the catalogue, 2 for the next"},
}


def joined_table(
    table: pa.Table, results: Mapping[str, MatchResult], *, join: Join = "left", names: Names | None = None
) -> pa.Table:
    """Append the answers of catalogues to the table that was matched.

    Parameters
    ----------
    table : pyarrow.Table
        The input, with the n rows that were matched.
    results : mapping of str to MatchResult
        By catalogue.
    join : {"left", "inner"}, optional
        Left keeps every input row; inner keeps those with a row in every catalogue. Both keep the input order.
    names : mapping, optional
        What to call columns of the catalogues: by column, or by catalogue and column.

    Returns
    -------
    pyarrow.Table
        The input's columns; each catalogue's, where a name that is taken gets ``_NAME``; ``_dist_arcsec`` and
        ``_status``, and ``_rank`` where an input row may have several. These three have ``_NAME`` where there are
        several catalogues, or the input already has one of them.

    Raises
    ------
    UsageError
        The input has a column of one of the last three names with ``_NAME``, several catalogues are asked for several
        neighbours, or the join is not one of the two.
    """
    rows, added = added_columns(table.column_names, results, join=join, names=names)
    taken = take(table, rows)
    fields = [*taken.schema, *added.schema]
    return pa.table([*taken.columns, *added.columns], schema=pa.schema(fields, metadata=table.schema.metadata))


def added_columns(
    taken: Sequence[str], results: Mapping[str, MatchResult], *, join: Join = "left", names: Names | None = None
) -> tuple[NDArray[np.int64], pa.Table]:
    """Make the columns that `joined_table` appends, and tell which input row each of their rows belongs to.

    Parameters
    ----------
    taken : sequence of str
        Names of the input's columns.
    results, join, names
        As of `joined_table`.

    Returns
    -------
    rows : ndarray of int64, shape (q,)
        Input rows, ascending.
    added : pyarrow.Table
        q rows.
    """
    check_join(join, results)
    own = {name: _renamed(name, result.rows.schema, names) for name, result in results.items()}
    finals = result_names(results, taken)
    called = catalog_names(taken, own, finals.values())
    rows, pairs = _joined_rows(results, join)
    fields: list[pa.Field] = []
    columns: list[pa.Array | pa.ChunkedArray] = []
    for name, result in results.items():
        picked = pairs[name]
        for field, column, title in zip(result.rows.schema, result.rows.columns, called[name], strict=True):
            fields.append(field.with_name(title).with_nullable(True))
            columns.append(take(column, picked))
        ending = {DISTANCE: take(pa.array(result.distance_arcsec), picked), STATUS: _labels(result.status[rows])}
        if result.is_ranked:
            ending[RANK] = take(pa.array(result.rank), picked)
        for kind, column in ending.items():
            fields.append(pa.field(finals[name, kind], column.type, metadata=RESULT_METADATA[kind]))
            columns.append(column)
    return rows, pa.table(columns, schema=pa.schema(fields))


def take(values: Rows, rows: NDArray[np.int64]) -> Rows:
    """Take rows of a table or of a column.

    Parameters
    ----------
    values : pyarrow.Table, Array or ChunkedArray
    rows : ndarray of int64, shape (q,)
        A negative one, of a column, gives a missing value.
    """
    if len(rows) == len(values) and bool((rows == np.arange(len(rows))).all()):
        return values
    return values.take(pa.array(rows, mask=rows < 0))


def check_join(join: str, results: Mapping[str, MatchResult]) -> None:
    """Refuse what has no form.

    Raises
    ------
    UsageError
        An unknown join, or several catalogues with several neighbours each.
    """
    if join not in JOINS:
        raise UsageError(f"there is no join {join!r}", hint=f"choose from {', '.join(JOINS)}", value=join)
    if len(results) > 1 and any(result.is_ranked for result in results.values()):
        raise UsageError(
            "several neighbours of several catalogues do not fit into one table", hint="match one catalogue at a time"
        )


def result_names(catalogs: Iterable[str], taken: Sequence[str] = ()) -> dict[tuple[str, str], str]:
    """Names of the last columns, by catalogue and kind.

    All have ``_NAME`` where there are several catalogues, or where the input, as the output of an earlier match, has
    one of them already: so matches follow one another.
    """
    catalogs = list(catalogs)
    kinds = (DISTANCE, STATUS, RANK)
    suffixed = len(catalogs) > 1 or not set(kinds).isdisjoint(taken)
    return {(name, kind): f"{kind}_{name}" if suffixed else kind for name in catalogs for kind in kinds}


def catalog_names(
    taken: Sequence[str], own: Mapping[str, Sequence[str]], finals: Iterable[str]
) -> dict[str, list[str]]:
    """Give every catalogue's columns names that are free.

    Parameters
    ----------
    taken : sequence of str
        Names of the input's columns.
    own : mapping of str to sequence of str
        Names of each catalogue's columns.
    finals : iterable of str
        Names of the columns that end the table.

    Returns
    -------
    dict of str to list of str
        A name that the input or another catalogue has, too, gets ``_NAME``; again, where that is taken as well.

    Raises
    ------
    UsageError
        The input has a column of one of the final names: whoever reads the output could take the old for the new.
    """
    finals = set(finals)
    for name in taken:
        if name in finals:
            raise UsageError(
                f"the input already has a column {name!r}, as an earlier match with the same catalogue gives it",
                hint="rename or drop it first, or call the catalogue otherwise",
                value=name,
            )
    shared = Counter(name for names in own.values() for name in names)
    used = set(taken) | finals
    called: dict[str, list[str]] = {}
    for catalog, names in own.items():
        called[catalog] = []
        for name in names:
            title = name
            while title in used or (title == name and shared[name] > 1):
                title = f"{title}_{catalog}"
            used.add(title)
            called[catalog].append(title)
    return called


def _renamed(catalog: str, schema: pa.Schema, names: Names | None) -> list[str]:
    if not names:
        return list(schema.names)
    by_catalog = names.get(catalog)
    mapping = by_catalog if isinstance(by_catalog, Mapping) else names
    titles = [mapping.get(name, name) for name in schema.names]
    return [title if isinstance(title, str) else name for title, name in zip(titles, schema.names, strict=True)]


def _joined_rows(
    results: Mapping[str, MatchResult], join: Join
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]]]:
    """Input row of each output row, and each catalogue's pair, -1 where there is none."""
    size = next(iter(results.values())).num_positions
    first, lengths = {}, np.ones(size, dtype=np.int64)
    keep = np.ones(size, dtype=bool)
    for name, result in results.items():
        counts = np.bincount(result.left, minlength=size)
        first[name] = np.where(counts > 0, np.cumsum(counts) - counts, -1)
        lengths = np.maximum(lengths, counts)
        keep &= counts > 0
    if join == "inner":
        lengths[~keep] = 0
    rows = np.repeat(np.arange(size, dtype=np.int64), lengths)
    # With several catalogues every length is one; with one catalogue pairs follow each other.
    steps = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return rows, {name: np.where(start[rows] < 0, -1, start[rows] + steps) for name, start in first.items()}


def _labels(status: NDArray[np.uint8]) -> pa.Array:
    return pa.array(STATUS_LABELS).take(pa.array(status))


def __dir__() -> list[str]:
    return sorted(__all__)
