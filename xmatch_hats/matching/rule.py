"""Which pairs are asked for: radius, number of neighbours, minimum radius."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from xmatch_hats.errors import RadiusError, UsageError
from xmatch_hats.sphere import ARCSEC_PER_RADIAN

MAX_RADIUS_ARCSEC = math.pi * ARCSEC_PER_RADIAN
"""Half a turn: no two positions are farther apart."""

PADDING = 1.0 + 1e-9
PADDING_ARCSEC = 1e-6
"""Candidates are sought a little beyond the radius, and then judged by their exact separation: far more than the
rounding of a chord (1e-11 arcsec), far less than what would bring more candidates."""


@dataclass(frozen=True)
class MatchRule:
    """A pair counts if ``separation <= radius``, and ``separation > min_radius`` where a minimum is set.

    Raises
    ------
    RadiusError
        A radius that is not a positive number up to half a turn, or a minimum that is not below it.
    UsageError
        A number of neighbours that is no whole number or below one.
    """

    radius_arcsec: float
    """Largest separation, inclusive."""
    n_neighbors: int | None = 1
    """How many of the nearest to keep; None keeps all."""
    min_radius_arcsec: float = 0.0
    """Separations up to this one do not count, where it is above zero; at zero, separation 0 is a match."""

    def __post_init__(self) -> None:
        if not 0.0 < self.radius_arcsec <= MAX_RADIUS_ARCSEC:  # false for NaN, too
            raise RadiusError(
                f"the radius must be a positive number of arcseconds up to 648000, not {self.radius_arcsec!r}",
                value=self.radius_arcsec,
            )
        if not 0.0 <= self.min_radius_arcsec < self.radius_arcsec:
            raise RadiusError(
                f"the minimum radius must be at least 0 and below the radius of {self.radius_arcsec:g} arcsec, "
                f"not {self.min_radius_arcsec!r}",
                value=self.min_radius_arcsec,
            )
        wanted: object = self.n_neighbors
        if wanted is not None and not (isinstance(wanted, int | np.integer) and wanted >= 1):
            raise UsageError(
                f"the number of neighbours must be a whole number, at least 1, not {self.n_neighbors!r}",
                hint="ask for all neighbours within the radius with None (--all)",
                value=self.n_neighbors,
            )
        if wanted is not None:
            # NumPy's numbers overflow where one more is asked for.
            object.__setattr__(self, "n_neighbors", int(wanted))

    @property
    def padded_arcsec(self) -> float:
        """Radius within which candidates are sought."""
        return pad(self.radius_arcsec)

    def within(self, radius_arcsec: float) -> MatchRule:
        """Return the same rule with another radius."""
        return replace(self, radius_arcsec=radius_arcsec)


def pad(radius_arcsec: float) -> float:
    """Widen a radius beyond every rounding of positions and chords."""
    return radius_arcsec * PADDING + PADDING_ARCSEC
