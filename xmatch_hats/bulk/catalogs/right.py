"""The rows of the right side that stretches of the left side may match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xmatch_hats.bulk.catalogs.partition import Integers, PartitionFile
from xmatch_hats.bulk.catalogs.units import Side
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.healpix import (
    MAX_ORDER,
    NEIGHBOUR_WIDTH_RAD,
    cover_order,
    cover_ranges,
    in_ranges,
    merge_ranges,
)
from xmatch_hats.matching.partitions import PartitionIndex
from xmatch_hats.matching.sorted import SortedSky
from xmatch_hats.matching.ties import tie_keys
from xmatch_hats.sphere import ARCSEC_PER_RADIAN, RA_MAX_DEG, RA_MIN_DEG, position_faults

Floats = NDArray[np.float64]

COARSE_ORDER = 10
"""Where positions are first asked for in bulk whether they lie near a border: cells of 3.4 arcmin."""
_COARSE_ARCSEC = NEIGHBOUR_WIDTH_RAD / (1 << COARSE_ORDER) * ARCSEC_PER_RADIAN
"""Discs of this radius lie within a cell of that order and its neighbours."""


@dataclass(frozen=True)
class Positions:
    """Index and coordinates of rows."""

    index: Integers
    ra: Floats
    dec: Floats

    @classmethod
    def of(cls, table: pa.Table, side: Side) -> Positions:
        """Take them from columns of a side."""
        index = table[HEALPIX_COLUMN].cast(pa.int64()).to_numpy()
        ra, dec = (table[name].cast(pa.float64()).to_numpy() for name in (side.ra, side.dec))
        return cls(np.asarray(index, dtype=np.int64), np.asarray(ra), np.asarray(dec))

    def valid(self) -> Integers | None:
        """Rows that have a position on the sphere; None where all have."""
        if len(self.index) == 0 or (
            # False for NaN, too: four passes instead of a dozen.
            RA_MIN_DEG <= self.ra.min() <= self.ra.max() <= RA_MAX_DEG
            and -90.0 <= self.dec.min() <= self.dec.max() <= 90.0
        ):
            return None
        return np.flatnonzero(position_faults(self.ra, self.dec) == 0).astype(np.int64)

    def take(self, rows: Integers | slice) -> Positions:
        """Return those of some rows."""
        return Positions(self.index[rows], self.ra[rows], self.dec[rows])

    @classmethod
    def joined(cls, parts: Sequence[Positions]) -> Positions:
        """Put some together."""
        nothing = cls(np.empty(0, np.int64), np.empty(0), np.empty(0))
        index, ra, dec = (
            _joined([getattr(part, name) for part in (parts or [nothing])]) for name in ("index", "ra", "dec")
        )
        return cls(index, ra, dec)


class RightRows:
    """Rows of one file of the right side that count.

    Parameters
    ----------
    file : PartitionFile
    side : Side
    ranges : ndarray of int64, shape (m, 2), optional
        Only rows with a spatial index in one of these; by default all.
    """

    def __init__(self, file: PartitionFile, side: Side, ranges: Integers | None = None) -> None:
        self._file = file
        self._numbers: Integers | None = None
        """Of the rows in the file; None for all."""
        names = [HEALPIX_COLUMN, side.ra, side.dec]
        if ranges is None and side.where is None:
            self.positions = Positions.of(file.read(names), side)
            return
        groups = None if ranges is None else file.groups_near(ranges)
        numbers = np.arange(len(file)) if groups is None else file.rows_of(groups)
        names = list(dict.fromkeys([*names, *(side.where.columns if side.where else ())]))
        kept: list[tuple[Positions, Integers]] = []
        begin = 0
        for table in file.stream(names, groups):
            positions = Positions.of(table, side)
            keep = np.ones(len(table), bool) if ranges is None else in_ranges(positions.index, ranges)
            if side.where is not None:
                keep &= side.where.mask(table)
            inside = np.flatnonzero(keep)
            kept.append((positions.take(inside), numbers[begin : begin + len(table)][inside]))
            begin += len(table)
        self.positions = Positions.joined([positions for positions, _ in kept])
        self._numbers = _joined([np.empty(0, np.int64), *(rows for _, rows in kept)])

    def __len__(self) -> int:
        return len(self.positions.index)

    def fetch(self, names: Sequence[str], rows: Integers) -> pa.Table:
        """Read columns of some of the rows, in the order they are given in."""
        return self._file.take(rows if self._numbers is None else self._numbers[rows], names)

    def row_bytes_at_most(self, names: Sequence[str]) -> float:
        """About what a row of some columns takes, or more."""
        return self._file.row_bytes_at_most(names)


class RightSide:
    """What one stretch of the left side may match: the rows of several files, numbered through."""

    def __init__(self, parts: Sequence[RightRows], side: Side) -> None:
        self._parts = parts
        self._columns, self._id = side.columns, side.id
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @cached_property
    def sky(self) -> SortedSky:
        """All rows that have a position, sorted along the sphere."""
        positions = Positions.joined([part.positions for part in self._parts])
        rows = positions.valid()
        if rows is not None:
            positions = positions.take(rows)
        if (positions.index[1:] < positions.index[:-1]).any():
            order = np.argsort(positions.index, kind="stable")
            positions, rows = positions.take(order), order if rows is None else rows[order]
        return SortedSky(positions.index, positions.ra, positions.dec, rows)

    @cached_property
    def ties(self) -> tuple[NDArray, ...]:
        """What equal separations are ordered by, in the order of the sky."""
        ids = None
        if self._id is not None:
            rows = np.arange(len(self), dtype=np.int64) if self.sky.rows is None else self.sky.rows
            tables, places = self._fetch([self._id], rows)
            ids = pa.concat_tables(tables)[self._id].take(pa.array(places))
        return tie_keys(ids, self.sky.ra, self.sky.dec)

    def row_bytes_at_most(self) -> float:
        """About what a row of the asked columns takes, or more."""
        return max((part.row_bytes_at_most(self._columns) for part in self._parts), default=0.0)

    def fetch(self, rows: Integers) -> tuple[list[pa.Table], Integers]:
        """Read the asked columns of some rows.

        Returns
        -------
        tables : list of pyarrow.Table
            By file.
        places : ndarray of int64, shape (len(rows),)
            Where each of the rows is in them, counted through.
        """
        return self._fetch(self._columns, rows)

    def _fetch(self, names: Sequence[str], rows: Integers) -> tuple[list[pa.Table], Integers]:
        owner = np.searchsorted(self._ends, rows, side="right")
        places, tables, done = np.empty(len(rows), np.int64), [], 0
        for number, part in enumerate(self._parts):
            mine = np.flatnonzero(owner == number)
            if len(mine):
                tables.append(part.fetch(names, rows[mine] - (self._ends[number] - len(part))))
                places[mine] = np.arange(done, done + len(mine))
                done += len(mine)
        return tables, places


def open_right(
    stack: ExitStack,
    side: Side,
    home: int,
    left_index: Integers,
    radius_arcsec: float,
    *,
    near: Integers | None = None,
    read_bytes: int = 1 << 30,
) -> RightSide:
    """Gather the rows within reach of a stretch of the left side.

    Parameters
    ----------
    stack : contextlib.ExitStack
        Closes the files that are opened here.
    side : Side
    home : int
        Number of the partition that the stretch lies in; -1 where it lies in none.
    left_index : ndarray of int64, shape (n,)
        Spatial indexes of the stretch.
    radius_arcsec : float
        Padded.
    near : ndarray of int64, shape (m, 2), optional
        Ranges of spatial indexes that hold all within reach, where that is not most of the partition.
    read_bytes : int, optional
        Rows decoded at once take no more, about.

    Raises
    ------
    PartitionReadError
        A partition cannot be read, or its margin, which is listed, is missing.
    """

    def opened(path: Path) -> PartitionFile:
        return stack.enter_context(PartitionFile(path, side.schema, read_bytes))

    files: list[tuple[PartitionFile, Integers | None]] = []
    if home >= 0:
        partition = side.partitions.pixels[home]
        margin = side.margin_file(partition)
        files += [(opened(path), near) for path in (side.file(partition), margin) if path is not None]
    if home < 0 or side.margin_path is None:
        for other, ranges in beyond(left_index, home, side.partitions, radius_arcsec):
            files.append((opened(side.file(side.partitions.pixels[other])), ranges))
    return RightSide([RightRows(file, side, ranges) for file, ranges in files], side)


def beyond(
    index: Integers, home: int, partitions: PartitionIndex, radius_arcsec: float
) -> Iterator[tuple[int, Integers]]:
    """Tell which other partitions the discs around positions reach, and where.

    Parameters
    ----------
    index : ndarray of int64, shape (n,)
        Spatial indexes, all within one partition or in none.
    home : int
        Number of that partition, or -1.
    partitions : PartitionIndex
    radius_arcsec : float

    Yields
    ------
    partition : int
    ranges : ndarray of int64, shape (m, 2)
        Spatial indexes that hold what the discs cover of it.
    """
    order = cover_order(radius_arcsec)
    if order is not None and order > COARSE_ORDER:
        shift = 2 * (MAX_ORDER - COARSE_ORDER)
        cells, place = np.unique(index >> shift, return_inverse=True)
        rows, touched = partitions.touched(cells << shift, _COARSE_ARCSEC)
        is_near = np.zeros(len(cells), dtype=bool)
        is_near[rows[touched != home]] = True
        index = index[is_near[place]]
    starts, stops = (edge.ravel() for edge in cover_ranges(index, radius_arcsec))
    ranges = merge_ranges(np.stack((starts, stops), axis=-1)[stops > starts])
    numbers, found = partitions.overlapping(ranges[:, 0], ranges[:, 1])
    for partition in np.unique(found[found != home]).tolist():
        yield partition, ranges[numbers[found == partition]]


def _joined(arrays: Iterable[NDArray]) -> NDArray:
    arrays = list(arrays)
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
