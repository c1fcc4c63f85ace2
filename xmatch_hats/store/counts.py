"""What became of a batch in the database: rows by table, and matched alerts that got none, by reason."""

from __future__ import annotations

from collections import Counter
from typing import Final

from xmatch_hats.store.tables import WRITE_ORDER

NO_OID: Final = "no-oid"
"""The packet names no object."""
BAD_OID: Final = "bad-oid"
"""What it names the object by is no text that a table can hold as a key."""
NO_POSITION: Final = "no-position"
NO_JD: Final = "no-jd"
NO_NDETHIST: Final = "no-ndethist"
NO_NCOVHIST: Final = "no-ncovhist"
NO_CATALOG_ID: Final = "no-catalog-id"
"""The catalogue's row has no usable name: the object is written, this match is not. Counted for each match."""

REASONS: Final = (NO_OID, BAD_OID, NO_POSITION, NO_JD, NO_NDETHIST, NO_NCOVHIST, NO_CATALOG_ID)
"""Why a matched alert has no rows. An alert that lacks several things is counted under the first."""


class StoreCounts(Counter[str]):
    """Counts by name: of rows under the tables' names, of matched alerts left out under `REASONS`.

    A row counts when it was sent, whether or not the table had it already.
    """

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table."""
        return {table.name: self[table.name] for table in WRITE_ORDER if self[table.name]}

    @property
    def left_out(self) -> dict[str, int]:
        """Alerts by reason."""
        return {reason: self[reason] for reason in REASONS if self[reason]}
