"""From matched alerts to rows of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.alerts.enrich import Enricher, Matched
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import ROW_COLUMN
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.targets import Target
from xmatch_hats.store.facts import AlertFacts, CatalogMatches
from xmatch_hats.store.store import Store
from xmatch_hats.store.tables import columns_needed, own_table

FACT_PATHS = (
    "candidate.jd",
    "candidate.ndethist",
    "candidate.ncovhist",
    "candidate.jdstarthist",
    "candidate.jdendhist",
)
"""Fields of a packet that rows are made of, beside its position and names; in the order of `AlertFacts`."""


class StoreTables:
    """Writes batches to a database.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, matched: Matched, enricher: Enricher, goes_on: NDArray[np.bool_]) -> Mapping[str, int]:
        """Write the rows of matched alerts that go on; their packets were read with `FACT_PATHS`."""
        # Packets are not trusted: the store looks at what kind of value it gets.
        facts = [AlertFacts(alert.object_id, alert.ra, alert.dec, *cast(Any, alert.extra)) for alert in matched.alerts]
        matches = [_matches(target, matched, goes_on) for target in enricher.targets]
        return self._store.write(facts, matches)


def columns_for_tables(copy: LocalCopy) -> tuple[str, ...]:
    """Columns of a copy that rows are made of, whether or not ``xmatches`` has them."""
    return columns_needed(_table_of(copy), _id_column(copy))


def _matches(target: Target, matched: Matched, goes_on: NDArray[np.bool_]) -> CatalogMatches:
    results = [answer[target.name] for answer in matched.answers]
    kept = [_kept(result, goes_on[i * matched.size :]) for i, result in enumerate(results)]
    rows = [result.rows.take(pa.array(pairs)) for result, pairs in zip(results, kept, strict=True)]
    return CatalogMatches(
        catid=target.name,
        table=_table_of(target.copy),
        alert=_joined([r.left[p] + i * matched.size for i, (r, p) in enumerate(zip(results, kept, strict=True))], int),
        distance_arcsec=_joined([r.distance_arcsec[p] for r, p in zip(results, kept, strict=True)], float),
        rows=pa.concat_tables(rows) if rows else target.schema.empty_table(),
        id_column=_id_column(target.copy),
    )


def _kept(result: MatchResult, goes_on: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero((result.rank == 1) & goes_on[result.left])


def _joined(parts: Sequence[NDArray], kind: type) -> NDArray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=kind)


def _table_of(copy: LocalCopy) -> str | None:
    return own_table(copy.definition.name) if copy.definition is not None else None


def _id_column(copy: LocalCopy) -> str:
    """Column that names a source to people, where the catalogue has a table of its own; else the one that is unique."""
    definition = copy.definition
    if definition is not None and own_table(definition.name) and definition.label_column:
        return definition.label_column
    return copy.id_column or ROW_COLUMN
