"""From a batch to rows: which alert gives which row, one row a key, sorted by key.

The first matched alert of an object gives its ``object`` row, the last one what it is matched with, so that the
tables do not depend on how a stream is cut into batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmatch_hats.errors import UsageError
from xmatch_hats.store import counts as why
from xmatch_hats.store.counts import StoreCounts
from xmatch_hats.store.facts import AlertFacts, CatalogMatches
from xmatch_hats.store.tables import OBJECT, XMATCH, columns_needed, own_columns

Row = dict[str, Any]

JD_OF_MJD_0 = 2400000.5
MAX_KEY_BYTES = 1000
"""Of a name in UTF-8. PostgreSQL's indexes hold at most 2,704 bytes, and two names make one key."""


@dataclass(frozen=True)
class BatchRows:
    """The rows of a batch by table, and what was left out."""

    tables: Mapping[str, list[Row]]
    """Sorted by key: steps that write the same rows at the same time wait for each other, and never in a circle."""
    counts: StoreCounts


class _Hit(NamedTuple):
    """A match that has rows; hits sort in the order in which their alerts came."""

    alert: int
    catalog: int
    """Number of the `CatalogMatches`."""
    place: int
    """Row of its arrays."""
    source: str
    """Name of the catalogue's row."""


def batch_rows(alerts: Sequence[AlertFacts], matches: Sequence[CatalogMatches]) -> BatchRows:
    """Make the rows of a batch.

    Parameters
    ----------
    alerts : sequence of AlertFacts
        All alerts of the batch, in offset order within a partition.
    matches : sequence of CatalogMatches
        One for each catalogue.

    Raises
    ------
    UsageError
        `CatalogMatches.rows` lacks a column, or `CatalogMatches.table` is none that is known.
    """
    for match in matches:
        _check_columns(match)
    counts = StoreCounts()
    objects: dict[str, Row] = {}
    oids: dict[int, str] = {}
    for number in sorted({number for match in matches for number in match.alert.tolist()}):
        row = _object_row(alerts[number])
        if isinstance(row, str):
            counts[row] += 1
        else:
            oids[number] = row["oid"]
            objects.setdefault(row["oid"], row)
    xmatch: dict[tuple[str, str], Row] = {}
    own: dict[str, dict[str, _Hit]] = {}
    for hit in sorted(_hits(matches, oids, counts)):
        match, oid = matches[hit.catalog], oids[hit.alert]
        dist = float(match.distance_arcsec[hit.place])
        xmatch[oid, match.catid] = {"oid": oid, "catid": match.catid, "oid_catalog": hit.source, "dist": dist}
        if match.table is not None:
            own.setdefault(match.table, {})[hit.source] = hit
    sources = {table: _source_rows(table, hits.values(), matches) for table, hits in own.items()}
    by_key: dict[str, Mapping[Any, Row]] = {OBJECT.name: objects, **sources, XMATCH.name: xmatch}
    tables = {name: [row for _, row in sorted(rows.items())] for name, rows in by_key.items()}
    counts.update({name: len(rows) for name, rows in tables.items() if rows})
    return BatchRows(tables, counts)


def _check_columns(match: CatalogMatches) -> None:
    needed = columns_needed(match.table, match.id_column)
    if missing := [name for name in needed if name not in match.rows.column_names]:
        raise UsageError(
            f"rows for the database lack the columns {', '.join(missing)}",
            place=f"catalogue {match.catid}",
            hint="the copy needs them: import or pull it again with these columns",
            value=missing,
        )


def _hits(matches: Sequence[CatalogMatches], oids: Mapping[int, str], counts: StoreCounts) -> Iterable[_Hit]:
    """Matches of the alerts that have rows; those whose catalogue row has no usable name are counted."""
    for catalog, match in enumerate(matches):
        sources = match.rows.column(match.id_column).cast(pa.string()).to_pylist()
        for place, (alert, source) in enumerate(zip(match.alert.tolist(), sources, strict=True)):
            if alert not in oids:
                continue
            if _is_key(source):
                yield _Hit(alert, catalog, place, source)
            else:
                counts[why.NO_CATALOG_ID] += 1


def _source_rows(table: str, hits: Iterable[_Hit], matches: Sequence[CatalogMatches]) -> dict[str, Row]:
    """Rows of a catalogue's own table by key."""
    names = own_columns(table)
    rows: dict[str, Row] = {}
    by_catalog: dict[int, list[_Hit]] = {}
    for hit in hits:
        by_catalog.setdefault(hit.catalog, []).append(hit)
    for catalog, found in by_catalog.items():
        taken = matches[catalog].rows.select(names).take(pa.array([hit.place for hit in found], pa.int64()))
        values = zip(*(_finite_values(column) for column in taken.columns), strict=True)
        for hit, row in zip(found, values, strict=True):
            rows[hit.source] = {"oid_catalog": hit.source, **dict(zip(names, row, strict=True))}
    return rows


def _finite_values(column: pa.ChunkedArray) -> list[float | None]:
    column = column.cast(pa.float64())
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64())).to_pylist()


def _object_row(facts: AlertFacts) -> Row | str:
    """Row of an alert that is the first of its object, or the reason why it has none."""
    if facts.oid is None or facts.oid == "":
        return why.NO_OID
    oid = facts.oid if _whole(facts.oid) is None else str(facts.oid)
    if not _is_key(oid):
        return why.BAD_OID
    ra, dec, mjd = _finite(facts.ra), _finite(facts.dec), _mjd(facts.jd)
    ndethist, ncovhist = _int32(facts.ndethist), _int32(facts.ncovhist)
    for value, reason in (
        (ra, why.NO_POSITION),
        (dec, why.NO_POSITION),
        (mjd, why.NO_JD),
        (ndethist, why.NO_NDETHIST),
        (ncovhist, why.NO_NCOVHIST),
    ):
        if value is None:
            return reason
    return {
        "oid": oid,
        "ndethist": ndethist,
        "ncovhist": ncovhist,
        "mjdstarthist": _mjd(facts.jdstarthist),
        "mjdendhist": _mjd(facts.jdendhist),
        "firstmjd": mjd,
        "lastmjd": mjd,
        "ndet": 1,
        "deltajd": 0.0,
        "meanra": ra,
        "meandec": dec,
        "step_id_corr": "0.0.0",
        "corrected": False,
        "stellar": False,
    }


def _mjd(jd: object) -> float | None:
    number = _finite(jd)
    return None if number is None else number - JD_OF_MJD_0


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, float | int | np.floating | np.integer):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    return int(value)


def _int32(value: object) -> int | None:
    number = _whole(value)
    return number if number is not None and -(2**31) <= number < 2**31 else None


def _is_key(value: object) -> bool:
    """Whether every database can hold a value as text in a key: PostgreSQL has no NUL, and nothing but UTF-8."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        return len(value.encode()) <= MAX_KEY_BYTES
    except UnicodeEncodeError:
        return False
