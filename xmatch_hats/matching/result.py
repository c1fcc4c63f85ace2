"""The answer of one catalogue to one batch of positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.matching.status import MatchStatus


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

    def counts(self) -> dict[str, int]:
        """Count the input rows by status: ``in`` and, summing to it, one number per status (JSON keys)."""
        numbers = np.bincount(self.status, minlength=len(MatchStatus))
        return {"in": self.num_positions} | {status.key: int(numbers[status]) for status in MatchStatus}
