"""Which pairs are asked for: radius, number of neighbours, minimum radius."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from xmatch_hats.errors import RadiusError, UsageError
from xmatch_hats.sphere import ARCSEC_PER_RADIAN

if TYPE_CHECKING:
    from astropy import units as u

MAX_RADIUS_ARCSEC = math.pi * ARCSEC_PER_RADIAN
"""Half a turn: no two positions are farther apart."""

PADDING = 1.0 + 1e-9
PADDING_ARCSEC = 1e-6
"""Candidates are sought a little beyond the radius, and then judged by their exact separation: far more than the
rounding of a chord (1e-11 arcsec), far less than what would bring more candidates."""


@dataclass(frozen=True)
class MatchRule:
    """A pair counts if ``separation <= radius``, and ``separation > min_radius`` where a minimum is set.

    The radii are taken as quantities, too.

    Raises
    ------
    RadiusError
        A radius that is not a positive angle up to half a turn, or a minimum that is not below it.
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
        radius = arcsec_of(self.radius_arcsec, "radius")
        if not 0.0 < radius <= MAX_RADIUS_ARCSEC:  # false for NaN, too
            raise RadiusError(
                f"the radius must be a positive number of arcseconds up to 648000, not {self.radius_arcsec}",
                value=self.radius_arcsec,
            )
        minimum = arcsec_of(self.min_radius_arcsec, "minimum radius")
        if not 0.0 <= minimum < radius:
            raise RadiusError(
                f"the minimum radius must be at least 0 and below the radius of {radius:g} arcsec, "
                f"not {self.min_radius_arcsec}",
                value=self.min_radius_arcsec,
            )
        wanted: Any = self.n_neighbors
        is_whole = not isinstance(wanted, bool) and isinstance(wanted, int | np.integer)
        if wanted is not None and not (is_whole and wanted >= 1):
            raise UsageError(
                f"the number of neighbours must be a whole number, at least 1, not {wanted!r}",
                hint="None asks for all within the radius",
                value=wanted,
            )
        # NumPy's numbers overflow where one more is asked for.
        neighbors = None if wanted is None else int(wanted)
        for name, value in (("radius_arcsec", radius), ("min_radius_arcsec", minimum), ("n_neighbors", neighbors)):
            object.__setattr__(self, name, value)

    @property
    def padded_arcsec(self) -> float:
        """Radius within which candidates are sought."""
        return pad(self.radius_arcsec)

    @property
    def wanted(self) -> str:
        """Which of the rows within the radius are asked for, in words."""
        number = self.n_neighbors
        return "all" if number is None else "the nearest" if number == 1 else f"the {number} nearest"

    def within(self, radius_arcsec: float) -> MatchRule:
        """Return the same rule with another radius."""
        return replace(self, radius_arcsec=radius_arcsec)


def arcsec_of(angle: u.Quantity | float, what: str) -> float:
    """One angle as a plain number of arcseconds.

    Parameters
    ----------
    angle : Quantity or float
        A plain number is one of arcseconds.
    what : str
        What it is called in the error.

    Raises
    ------
    RadiusError
        It is neither.
    """
    # Quantities are known by what they can do: nobody who gives plain numbers waits for Astropy to be imported.
    given: Any = angle
    if _is_angle(given):
        given = given.to_value("arcsec")
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given[()]
    if isinstance(given, bool) or not isinstance(given, Real):
        raise RadiusError(
            f"the {what} must be one angle or a number of arcseconds, not {angle!r}",
            hint="write 1.5, or 1.5 * u.arcsec",
            value=angle,
        )
    try:
        return float(given)
    except OverflowError:
        return math.inf


def _is_angle(angle: Any) -> bool:
    return hasattr(angle, "to_value") and getattr(getattr(angle, "unit", None), "physical_type", None) == "angle"


def pad(radius_arcsec: float) -> float:
    """Widen a radius beyond every rounding of positions and chords."""
    return radius_arcsec * PADDING + PADDING_ARCSEC
