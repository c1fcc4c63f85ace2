"""Counts that grow while rows stream past, in memory that does not: what pictures are drawn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.healpix import MAX_ORDER

DEEPEST_ORDER = 12
"""Of maps: cells of 52 arcsec."""
MAX_CELLS = 1 << 20
"""Of a map; the whole sky at order 8 fits."""
_PENDING = 1 << 20
"""Entries that wait to be put in, 16 bytes each."""

Floats = NDArray[np.floating]


class CellCounts:
    """Counts of several kinds by HEALPix cell, at the finest order at which there are at most `MAX_CELLS` of them.

    The order depends on what was counted, never on the pieces in which it came.

    Parameters
    ----------
    kinds : int
        How many counts a cell has.
    order : int, optional
        At which counting begins.
    """

    def __init__(self, kinds: int, order: int = DEEPEST_ORDER) -> None:
        self.kinds = kinds
        self.order = order
        self._keys = np.empty(0, np.int64)
        """Cells times the number of kinds plus the kind, ascending."""
        self._counts = np.empty(0, np.int64)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, index: NDArray[np.int64], kind: NDArray[np.integer]) -> None:
        """Count rows: cells of order 29 and kinds from 0, shape (n,)."""
        keys = (index >> 2 * (MAX_ORDER - self.order)) * self.kinds + kind
        self._wait(*np.unique(keys, return_counts=True))

    def add_counts(self, cells: NDArray[np.int64], kind: int, counts: NDArray[np.int64], order: int) -> None:
        """Add counts of one kind by cells of an order, at least that of this map."""
        self._wait((cells >> 2 * (order - self.order)) * self.kinds + kind, counts)

    def at(self, order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The map at an order, not finer than `order`.

        Returns
        -------
        cells : ndarray of int64, shape (n,)
            Ascending.
        counts : ndarray of int64, shape (kinds, n)
        """
        self._settle()
        keys = self._coarser(self._keys, self.order - order)
        cells, place = np.unique(keys // self.kinds, return_inverse=True)
        counts = np.zeros((self.kinds, len(cells)), np.int64)
        np.add.at(counts, (keys % self.kinds, place), self._counts)
        return cells, counts

    def settled(self) -> CellCounts:
        """Put in what waits, after which `order` is that of all rows."""
        self._settle()
        return self

    def _wait(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self._waiting.append((keys, counts))
        if sum(len(waiting) for waiting, _ in self._waiting) >= _PENDING:
            self._settle()

    def _settle(self) -> None:
        if not self._waiting:
            return
        self._merge([(self._keys, self._counts), *self._waiting])
        self._waiting = []
        while len(np.unique(self._keys // self.kinds)) > MAX_CELLS:
            self.order -= 1
            self._merge([(self._coarser(self._keys, 1), self._counts)])

    def _merge(self, parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> None:
        keys = np.concatenate([keys for keys, _ in parts])
        counts = np.concatenate([counts for _, counts in parts])
        self._keys, place = np.unique(keys, return_inverse=True)
        self._counts = np.zeros(len(self._keys), np.int64)
        np.add.at(self._counts, place, counts)

    def _coarser(self, keys: NDArray[np.int64], orders: int) -> NDArray[np.int64]:
        return (keys // self.kinds >> 2 * orders) * self.kinds + keys % self.kinds


class Histogram:
    """Counts of values in bins of one width.

    Parameters
    ----------
    low, high : float
    bins : int
    """

    def __init__(self, low: float, high: float, bins: int) -> None:
        self.edges = np.linspace(low, high, bins + 1)
        self.counts = np.zeros(bins, np.int64)
        self.outside = 0
        """Values below or above all bins."""

    @property
    def total(self) -> int:
        """Values in bins."""
        return int(self.counts.sum())

    def add(self, values: Floats) -> None:
        """Count values; those that are no finite numbers do not count."""
        values = values[np.isfinite(values)]
        counts, _ = np.histogram(values, len(self.counts), (self.edges[0], self.edges[-1]))
        self.counts += counts
        self.outside += len(values) - int(counts.sum())

    def median(self) -> float | None:
        """Median of the values in bins, right to a fraction of a bin; None where there are none."""
        if not self.total:
            return None
        sums = np.concatenate(([0], np.cumsum(self.counts)))
        # Within a bin values count as spread evenly.
        bin_ = int(np.searchsorted(sums, self.total / 2, side="left")) - 1
        share = (self.total / 2 - sums[bin_]) / self.counts[bin_]
        return float(self.edges[bin_] + share * (self.edges[bin_ + 1] - self.edges[bin_]))

    def rebinned(self, factor: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Edges and counts of bins so many times as wide; their number must be a multiple of it."""
        return self.edges[::factor], self.counts.reshape(-1, factor).sum(axis=1)


class Cloud:
    """Counts of points in a plane, with the medians of both coordinates.

    Parameters
    ----------
    x, y : (float, float)
        Ranges.
    bins : int
        Along each side.
    """

    FINER = 8
    """Bins of the coordinates alone, which medians are taken from, to one of the plane."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], bins: int) -> None:
        self.x = Histogram(*x, bins * self.FINER)
        self.y = Histogram(*y, bins * self.FINER)
        self.counts = np.zeros((bins, bins), np.int64)
        """By x, then y."""
        self._ranges = (x, y)

    @property
    def total(self) -> int:
        """Points in the plane's bins."""
        return int(self.counts.sum())

    def add(self, x: Floats, y: Floats) -> None:
        """Count points; those with a coordinate that is no finite number do not count."""
        good = np.isfinite(x) & np.isfinite(y)
        x, y = x[good], y[good]
        self.x.add(x)
        self.y.add(y)
        self.counts += np.histogram2d(x, y, self.counts.shape, self._ranges)[0].astype(np.int64)
