"""What became of a position: every input row ends as exactly one of four."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["STATUS_LABELS", "MatchStatus", "combine_statuses"]


class MatchStatus(IntEnum):
    """The fate of one input position against one catalogue.

    Examples
    --------
    >>> MatchStatus.OUTSIDE_COVERAGE.label, MatchStatus.OUTSIDE_COVERAGE.key
    ('outside-coverage', 'outside_coverage')
    """

    MATCHED = 0
    """A row of the catalogue lies within the radius, wherever the position lies."""
    UNMATCHED = 1
    """No row within the radius, and the whole disc of the radius was searched."""
    OUTSIDE_COVERAGE = 2
    """No row within the radius, but the disc reaches sky that the copy does not cover."""
    REJECTED = 3
    """Not a position: see its fault."""

    @property
    def label(self) -> str:
        """The word that tables, headers and people get."""
        return _LABELS[self]

    @property
    def key(self) -> str:
        """The label as a JSON key."""
        return _LABELS[self].replace("-", "_")


_LABELS = {
    MatchStatus.MATCHED: "matched",
    MatchStatus.UNMATCHED: "unmatched",
    MatchStatus.OUTSIDE_COVERAGE: "outside-coverage",
    MatchStatus.REJECTED: "rejected",
}

STATUS_LABELS: tuple[str, ...] = tuple(status.label for status in MatchStatus)
"""Labels by status value."""


def combine_statuses(statuses: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """One status per row out of those against several catalogues.

    Rejected where the position is; else matched if any catalogue matched, else outside-coverage if any is, else
    unmatched.

    Parameters
    ----------
    statuses : list of ndarray of uint8, shape (n,)
        At least one.

    Returns
    -------
    ndarray of uint8, shape (n,)

    Examples
    --------
    >>> first = np.array([MatchStatus.MATCHED, MatchStatus.UNMATCHED], dtype=np.uint8)
    >>> second = np.array([MatchStatus.UNMATCHED, MatchStatus.OUTSIDE_COVERAGE], dtype=np.uint8)
    >>> [STATUS_LABELS[status] for status in combine_statuses([first, second])]
    ['matched', 'outside-coverage']
    """
    stacked = np.stack(statuses)
    combined = np.full(stacked.shape[1], MatchStatus.UNMATCHED, dtype=np.uint8)
    # Later lines override earlier ones: the order is the rule.
    combined[(stacked == MatchStatus.OUTSIDE_COVERAGE).any(axis=0)] = MatchStatus.OUTSIDE_COVERAGE
    combined[(stacked == MatchStatus.MATCHED).any(axis=0)] = MatchStatus.MATCHED
    combined[(stacked == MatchStatus.REJECTED).any(axis=0)] = MatchStatus.REJECTED
    return combined


def __dir__() -> list[str]:
    return sorted(__all__)
