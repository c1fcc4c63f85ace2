"""Which partitions of a catalogue positions belong to, and which their discs touch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.healpix import MAX_ORDER, cover_order, cover_ranges
from xmatch_hats.matching.cells import crossing


@dataclass(frozen=True)
class PartitionIndex:
    """The partitions of one catalogue as disjoint ranges of spatial indexes, ascending.

    Partitions may be of differing orders and leave holes.
    """

    pixels: tuple[tuple[int, int], ...]
    """HEALPix order and pixel of each partition."""
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def from_pixels(cls, pixels: Iterable[tuple[int, int]]) -> PartitionIndex:
        """Index the partitions with these orders and pixels, in any order."""
        given = [(int(order), int(pixel)) for order, pixel in pixels]
        ranges = [(pixel << _shift(order), (pixel + 1) << _shift(order)) for order, pixel in given]
        by_place = sorted(range(len(given)), key=lambda i: ranges[i])
        return cls(
            tuple(given[i] for i in by_place),
            np.array([ranges[i][0] for i in by_place], dtype=np.int64),
            np.array([ranges[i][1] for i in by_place], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.pixels)

    @cached_property
    def _orders(self) -> NDArray[np.int64]:
        return np.array([order for order, _ in self.pixels], dtype=np.int64)

    def home(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the partition that each position lies in.

        Parameters
        ----------
        index : ndarray of int64, shape (n,)
            Spatial indexes.

        Returns
        -------
        ndarray of int64, shape (n,)
            Numbers of partitions, -1 where there is none.
        """
        if len(self) == 0:
            return np.full(len(index), -1, dtype=np.int64)
        place = np.searchsorted(self.starts, index, side="right").astype(np.int64) - 1
        inside = (place >= 0) & (index < self.stops[np.maximum(place, 0)])
        return np.where(inside, place, -1)

    def touched(self, index: NDArray[np.int64], radius_arcsec: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find all partitions that the discs around positions may touch.

        Parameters
        ----------
        index : ndarray of int64, shape (n,)
            Spatial indexes of the centres.
        radius_arcsec : float
            Radius of the discs.

        Returns
        -------
        rows, partitions : ndarray of int64, shape (m,)
            Each pair once, by row and partition. Some may be touched only nearly; none is left out.
        """
        home, inside = self._at_home(index, radius_arcsec)
        rows = np.flatnonzero(~inside)
        starts, stops = cover_ranges(index[rows], radius_arcsec)
        ranges, partitions = self.overlapping(starts.ravel(), stops.ravel())
        size = max(len(self), 1)
        # Several cells of one block can lie in the same partition.
        near = np.unique(rows[ranges // starts.shape[1]] * size + partitions)
        pairs = np.sort(np.concatenate([np.flatnonzero(inside) * size + home[inside], near]), kind="stable")
        return pairs // size, pairs % size

    def _at_home(self, index: NDArray[np.int64], radius_arcsec: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Find the partition of each position, and whether its disc lies wholly in it: so it is with nearly all."""
        home, order = self.home(index), cover_order(radius_arcsec)
        if order is None or len(self) == 0:
            return home, np.zeros(len(index), dtype=bool)
        depths = np.maximum(order - self._orders, 0)[home]
        return home, (home >= 0) & ~crossing(index >> 2 * (MAX_ORDER - order), depths)

    def overlapping(
        self, starts: NDArray[np.int64], stops: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the partitions that overlap ranges of spatial indexes.

        Parameters
        ----------
        starts, stops : ndarray of int64, shape (n,)
            Half-open ranges, some of them empty.

        Returns
        -------
        ranges, partitions : ndarray of int64, shape (m,)
            Numbers of both, by range.
        """
        first = np.searchsorted(self.stops, starts, side="right")
        last = np.searchsorted(self.starts, stops, side="left")
        lengths = np.where(stops > starts, np.maximum(last - first, 0), 0)
        return np.repeat(np.arange(len(starts)), lengths), expand_ranges(first, lengths)


def expand_ranges(starts: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Concatenate the ranges ``start, start + 1, ...`` of the given lengths.

    Parameters
    ----------
    starts, lengths : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of int64, shape (sum of lengths,)
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    offsets = np.repeat(np.asarray(starts, dtype=np.int64) - (ends - lengths), lengths)
    return np.arange(total, dtype=np.int64) + offsets


def _shift(order: int) -> int:
    return 2 * (MAX_ORDER - order)
