"""The answer of one catalogue to one batch of positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.display import ROWS_SHOWN, as_html
from xmatch_hats.matching.status import MatchStatus

__all__ = ["COLUMNS_SHOWN", "MatchResult"]

COLUMNS_SHOWN = 6
"""Of the catalogue's columns, in a notebook."""


@dataclass(frozen=True)
class MatchResult:
    """One catalogue's answer to ``n`` positions: ``p`` pairs, and one status per position."""

    status: NDArray[np.uint8]
    """Values of `MatchStatus`, shape (n,)."""
    faults: NDArray[np.uint8]
    """Values of `xmatch_hats.sphere.PositionFault`, shape (n,): why a position was rejected."""
    left: NDArray[np.int64]
    """Input row of each pair, shape (p,), ascending; pairs of one row go by rank."""
    rank: NDArray[np.int32]
    """1 for the nearest row of the catalogue, 2 for the next, shape (p,)."""
    distance_arcsec: NDArray[np.float64]
    """Separation of each pair, shape (p,)."""
    rows: pa.Table
    """The asked columns of the catalogue's row of each pair, p rows; canonical names, units in the field metadata."""
    n_neighbors: int | None = 1
    """How many of the nearest were asked for; None is all."""

    @property
    def is_ranked(self) -> bool:
        """Whether a position may have several rows, so that ranks mean something."""
        return self.n_neighbors != 1

    @property
    def num_positions(self) -> int:
        """Number of input rows."""
        return len(self.status)

    def __repr__(self) -> str:
        counts = self.counts()
        told = ", ".join(f"{counts[status.key]:,} {status.label}" for status in MatchStatus)
        return f"<MatchResult of {self.num_positions:,} positions: {told}; {len(self.left):,} pairs>"

    def _repr_html_(self) -> str:
        counts = self.counts()
        median = float(np.median(self.distance_arcsec)) if len(self.distance_arcsec) else None
        facts = {
            "positions": counts["in"],
            **{status.label: counts[status.key] for status in MatchStatus},
            "pairs": len(self.left),
            "median separation": None if median is None else f"{median:.3g} arcsec",
        }
        shown = self.rows.slice(0, ROWS_SHOWN).select(self.rows.schema.names[:COLUMNS_SHOWN])
        names = ("row", "rank", "separation (arcsec)", *shown.schema.names)
        columns = [values[:ROWS_SHOWN].tolist() for values in (self.left, self.rank, self.distance_arcsec)]
        pairs = list(zip(*columns, *(column.to_pylist() for column in shown.columns), strict=True))
        return as_html("MatchResult", facts, names, pairs, total=len(self.left))

    def counts(self) -> dict[str, int]:
        """Count the input rows by status: ``in`` and, summing to it, one number per status (JSON keys)."""
        numbers = np.bincount(self.status, minlength=len(MatchStatus))
        return {"in": self.num_positions} | {status.key: int(numbers[status]) for status in MatchStatus}


def __dir__() -> list[str]:
    return sorted(__all__)
