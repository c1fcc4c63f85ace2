"""Mean, mode, standard deviation and extremes of numbers that stream past twice."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.plots.tallies import Histogram

__all__ = ["Mode", "Moments"]

Floats = NDArray[np.float64]

_SIGMAS = 5.0
"""Around the mean, in which a mode is looked for: a few numbers far off do not make its bins wide."""
_BINS = 4096
"""Of the histogram from which bins of the mode are put together."""


class Moments:
    """What the first pass counts."""

    def __init__(self) -> None:
        self.number = 0
        self.mean = math.nan
        self.low, self.high = math.nan, math.nan
        self._squares = 0.0

    def add(self, values: Floats) -> None:
        """Count values; those that are no finite numbers do not count."""
        values = values[np.isfinite(values)]
        if not len(values):
            return
        number, mean = len(values), float(values.mean())
        squares = float(((values - mean) ** 2).sum())
        if self.number:
            # Chan et al. 1979: sums of squares about each part's own mean lose no digits.
            total, apart = self.number + number, mean - self.mean
            squares += self._squares + apart * apart * self.number * number / total
            mean = self.mean + apart * number / total
            number = total
        self.number, self.mean, self._squares = number, mean, squares
        self.low = float(np.fmin(self.low, values.min()))
        self.high = float(np.fmax(self.high, values.max()))

    @property
    def deviation(self) -> float:
        """Standard deviation, as the root of the mean square about the mean; NaN of nothing."""
        return math.sqrt(self._squares / self.number) if self.number else math.nan

    @property
    def span(self) -> tuple[float, float]:
        """What lies within 5 standard deviations around the mean, as far as there are values; 0 to 1 of nothing."""
        if not self.number:
            return 0.0, 1.0
        reach = _SIGMAS * self.deviation
        low, high = max(self.low, self.mean - reach), min(self.high, self.mean + reach)
        return (low, high) if high > low else (low - 0.5, low + 0.5)


class Mode:
    """What the second pass counts: where most values lie.

    Parameters
    ----------
    moments : Moments
        Of the first pass.
    """

    def __init__(self, moments: Moments) -> None:
        self._histogram = Histogram(*moments.span, _BINS)
        self._is_single = moments.low == moments.high
        self._single = moments.low

    def add(self, values: Floats) -> None:
        """Count values."""
        self._histogram.add(values)

    def value(self) -> float:
        """Middle of the fullest stretch as wide as a bin of Freedman and Diaconis (1981), the lowest of several.

        That is twice the distance of the quartiles over the cube root of the number; NaN of nothing.
        """
        counts, edges = self._histogram.counts, self._histogram.edges
        if self._is_single or not self._histogram.total:
            return self._single if self._is_single else math.nan
        sums = np.concatenate(([0], np.cumsum(counts)))
        first, third = (int(np.searchsorted(sums, share * sums[-1], side="left")) for share in (0.25, 0.75))
        bins = max(1, round(2.0 * max(1, third - first) / sums[-1] ** (1.0 / 3.0)))
        held = sums[bins:] - sums[:-bins]
        at = int(held.argmax())
        return float(edges[at] + edges[at + bins]) / 2.0


def __dir__() -> list[str]:
    return sorted(__all__)
