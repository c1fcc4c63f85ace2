"""Regions of the sky: what lies within them for sure, what may, and which rows do.

A pull copies the rows of a region and of a margin around it. It records the region's *inner* cells as coverage, reads
only the partitions that the region's *outer* cells touch, and keeps the rows that the region's mask names.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xmatch_hats import healpix
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.moc_files import moc_of
from xmatch_hats.errors import UsageError
from xmatch_hats.sphere import ARCSEC_PER_RADIAN, RA_MAX_DEG, RA_MIN_DEG, separation_arcsec, unit_vectors

__all__ = ["Box", "Cone", "MocRegion", "Region", "grown"]

_OUTSIDE, _TOUCHED, _INSIDE = -1, 0, 1
_CELLS_ACROSS = 256
"""A region is drawn with cells this much smaller than itself, so that its ragged edge is a small part of it."""


class Region(ABC):
    """A part of the sky."""

    @abstractmethod
    def __str__(self) -> str:
        """Give the region as the command line takes it."""

    def identity(self) -> str:
        """Tell it from every other region: hexadecimal, or its numbers in full."""
        return repr(self)

    @abstractmethod
    def coverage(self) -> Coverage:
        """Cells that lie wholly within the region, as the coverage of a copy of it."""

    @abstractmethod
    def row_mask(self, ra: ArrayLike, dec: ArrayLike, margin_arcsec: float = 0.0) -> NDArray[np.bool_]:
        """Tell which rows belong to a copy of the region.

        Parameters
        ----------
        ra, dec : array_like of float, shape (n,)
            Degrees.
        margin_arcsec : float
            Arcseconds by which the region is widened.

        Returns
        -------
        ndarray of bool, shape (n,)
            True for every row that lies within the margin of a point of the region.
        """

    @abstractmethod
    def _touched(self) -> NDArray[np.int64]:
        """Ranges of cells that overlap the region."""

    def outer_ranges(self, margin_arcsec: float = 0.0) -> NDArray[np.int64]:
        """Cells that hold the region and all that lies within a margin of it, as ranges at order 29."""
        return _outer(self, margin_arcsec)


@lru_cache(maxsize=4)
def _outer(region: Region, margin_arcsec: float) -> NDArray[np.int64]:
    return grown(region._touched(), margin_arcsec)


def grown(ranges: NDArray[np.int64], margin_arcsec: float) -> NDArray[np.int64]:
    """Ranges widened by at least a margin, arcseconds, and by no more than two cells a little wider than it."""
    if margin_arcsec <= 0.0 or len(ranges) == 0:
        return ranges
    order = healpix.cover_order(margin_arcsec)
    if order is None:
        return np.array([[0, healpix.FULL_SKY_END]])
    wide = moc_of(healpix.grow_ranges(ranges, order), order).add_neighbours()
    return wide.to_depth29_ranges.astype(np.int64)


class _DrawnRegion(Region):
    """A region given by numbers, drawn cell by cell."""

    @abstractmethod
    def _order(self) -> int:
        """Order of the cells to draw with."""

    @abstractmethod
    def _classify(self, members: NDArray[np.int64], order: int) -> NDArray[np.int8]:
        """Tell of cells whether they lie outside or inside for sure, or may be cut by the border."""

    def _draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ranges inside, and ranges touched; only cells at the border are divided, order by order."""
        inside, members = [np.empty((0, 2), dtype=np.int64)], np.arange(12, dtype=np.int64)
        for order in range(self._order() + 1):
            if order:
                members = (members[:, None] * 4 + np.arange(4)).ravel()
            kinds = self._classify(members, order)
            inside.append(healpix.ranges_of_cells(members[kinds == _INSIDE], order))
            members = members[kinds == _TOUCHED]
        inner = healpix.merge_ranges(np.concatenate(inside))
        rim = healpix.ranges_of_cells(members, self._order())
        return inner, healpix.merge_ranges(np.concatenate((inner, rim)))

    def coverage(self) -> Coverage:
        """Cells of order 12 or more (10 for large regions) that lie wholly within the region."""
        return Coverage("region", self._draw()[0], self._order(), str(self))

    def _touched(self) -> NDArray[np.int64]:
        return self._draw()[1]


@dataclass(frozen=True)
class Cone(_DrawnRegion):
    """All within a distance of a position.

    Parameters
    ----------
    ra, dec, radius_deg : float
        Degrees; the radius is above 0 and at most 180.

    Raises
    ------
    UsageError
        A number is not on the sphere.
    """

    ra: float
    dec: float
    radius_deg: float

    def __post_init__(self) -> None:
        _check_ra("cone", self.ra)
        _check_dec("cone", self.dec)
        if not 0.0 < self.radius_deg <= 180.0:
            raise UsageError(
                "the radius of a cone must be above 0 and at most 180 degrees", place="cone", value=self.radius_deg
            )

    def __str__(self) -> str:
        return f"cone {self.ra:.10g} {self.dec:.10g} {self.radius_deg:.10g}"

    def _order(self) -> int:
        return _order_for(self.radius_deg, 12 if self.radius_deg <= 10.0 else 10)

    def _distance_rad(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
        return separation_arcsec(unit_vectors(ra, dec), unit_vectors(self.ra, self.dec)) / ARCSEC_PER_RADIAN

    def _classify(self, members: NDArray[np.int64], order: int) -> NDArray[np.int8]:
        kinds = np.full(len(members), _TOUCHED, dtype=np.int8)
        if self.radius_deg == 180.0:
            kinds[:] = _INSIDE
            return kinds
        radius, size = np.radians(self.radius_deg), healpix.cell_radius_rad(order)
        distance = self._distance_rad(*healpix.centres_of(members, order))
        kinds[distance - size > radius] = _OUTSIDE
        kinds[distance + size <= radius] = _INSIDE
        if order == self._order():
            # Most cells are smaller than the largest of their order, so the bound above loses some that are inside.
            # A cell around the far point of the sky is no such cell: its corners are nearer than its middle.
            near = np.flatnonzero((kinds == _TOUCHED) & (distance < np.pi - 2.0 * size))
            reach = self._distance_rad(*_edges(members[near], order)).max(axis=-1, initial=0.0)
            kinds[near[reach + _EDGE_PAD * size <= radius]] = _INSIDE
        return kinds

    def row_mask(self, ra: ArrayLike, dec: ArrayLike, margin_arcsec: float = 0.0) -> NDArray[np.bool_]:
        """Tell which rows lie within the radius and the margin, exactly."""
        distance = separation_arcsec(unit_vectors(ra, dec), unit_vectors(self.ra, self.dec))
        return distance <= (self.radius_deg * 3600.0 + margin_arcsec) * (1.0 + 1e-12) + _ROUNDING_ARCSEC


@dataclass(frozen=True)
class Box(_DrawnRegion):
    """All between two meridians, eastward from the first, and two parallels.

    Parameters
    ----------
    ra_min, ra_max : float
        Degrees; through 0 if the first is larger. A full circle is 0 and 360.
    dec_min, dec_max : float
        Degrees.

    Raises
    ------
    UsageError
        A number is not on the sphere, or the box is empty.
    """

    ra_min: float
    ra_max: float
    dec_min: float
    dec_max: float

    def __post_init__(self) -> None:
        for ra in (self.ra_min, self.ra_max):
            _check_ra("box", ra)
        for dec in (self.dec_min, self.dec_max):
            _check_dec("box", dec)
        if not self.dec_min < self.dec_max:
            raise UsageError("the second declination of a box must be above the first", place="box", value=self.dec_max)
        if not 0.0 < self.width_deg <= 360.0:
            raise UsageError(
                "the right ascensions of a box must differ, by one turn at most",
                place="box",
                hint="a full circle is 0 360",
                value=self.width_deg,
            )

    @property
    def width_deg(self) -> float:
        """Extent in right ascension, degrees of longitude."""
        width = self.ra_max - self.ra_min
        return width + 360.0 if width < 0.0 else width

    def __str__(self) -> str:
        return f"box {self.ra_min:.10g} {self.ra_max:.10g} {self.dec_min:.10g} {self.dec_max:.10g}"

    def _order(self) -> int:
        middle = np.radians(0.5 * (self.dec_min + self.dec_max))
        across = min(self.width_deg * float(np.cos(middle)), self.dec_max - self.dec_min)
        # A long thin box has a long border: its cells may not be as small as its thin side would like.
        longest = max(self.width_deg, self.dec_max - self.dec_min)
        return _order_for(max(across, longest / 64.0) / 2.0, 12 if longest <= 20.0 else 10)

    def _classify(self, members: NDArray[np.int64], order: int) -> NDArray[np.int8]:
        west, east, south, north = _extents(members, order)
        # Westernmost longitude of each cell, counted eastward from the box's own.
        start = (west - self.ra_min) % 360.0
        end = start + (east - west)
        lies_in_ra = (end <= self.width_deg) | (self.width_deg == 360.0)
        meets_in_ra = (start <= self.width_deg + _ROUNDING_DEG) | (end >= 360.0 - _ROUNDING_DEG)
        kinds = np.full(len(members), _TOUCHED, dtype=np.int8)
        misses = (south > self.dec_max + _ROUNDING_DEG) | (north < self.dec_min - _ROUNDING_DEG)
        kinds[misses | ~meets_in_ra] = _OUTSIDE
        kinds[lies_in_ra & (south >= self.dec_min) & (north <= self.dec_max)] = _INSIDE
        return kinds

    def row_mask(self, ra: ArrayLike, dec: ArrayLike, margin_arcsec: float = 0.0) -> NDArray[np.bool_]:
        """Tell which rows lie within the margin of the box, and a few more at its corners."""
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        margin_deg = (margin_arcsec + _ROUNDING_ARCSEC) / 3600.0
        # Half the width in longitude of a disc of the margin's radius; a disc that holds a pole has every longitude.
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.sin(np.radians(min(margin_deg, 90.0))) / np.cos(np.radians(dec))
        pad = np.where((ratio < 1.0) & (ratio >= 0.0), np.degrees(np.arcsin(np.clip(ratio, 0.0, 1.0))), 180.0)
        with np.errstate(invalid="ignore"):
            eastward = (ra - self.ra_min) % 360.0
            in_ra = (eastward <= self.width_deg + pad) | (eastward >= 360.0 - pad)
            in_dec = (dec >= self.dec_min - margin_deg) & (dec <= self.dec_max + margin_deg)
        return in_ra & in_dec


@dataclass(frozen=True)
class MocRegion(Region):
    """The cells of a map."""

    path: str
    map: Coverage

    @classmethod
    def from_file(cls, path: str | Path) -> MocRegion:
        """Read the map from a MOC file.

        Raises
        ------
        CoverageError
            The file is not a readable MOC.
        UsageError
            The map is empty.
        """
        region = cls(str(path), Coverage.from_moc_file(path))
        if len(region.map.ranges) == 0:
            raise UsageError("the MOC is empty: it holds no part of the sky", place=path)
        return region

    def __str__(self) -> str:
        return f"moc {self.path}"

    def identity(self) -> str:
        """Checksum of its cells."""
        return hashlib.sha256(self.map.ranges.tobytes()).hexdigest()

    def coverage(self) -> Coverage:
        """All cells of the map."""
        return Coverage("region", self.map.ranges, self.map.order, str(self))

    def _touched(self) -> NDArray[np.int64]:
        return self.map.ranges

    def row_mask(self, ra: ArrayLike, dec: ArrayLike, margin_arcsec: float = 0.0) -> NDArray[np.bool_]:
        """Tell which rows lie in a cell of the map or within two cells, a little wider than the margin, of it."""
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        kept = np.isfinite(ra) & (dec >= -90.0) & (dec <= 90.0)
        kept[kept] = healpix.in_ranges(healpix.cells_of(ra[kept], dec[kept]), self.outer_ranges(margin_arcsec))
        return kept


_ROUNDING_ARCSEC = 1e-6
_ROUNDING_DEG = 1e-9
_EDGE_PAD = 0.02
"""Part of a cell's size by which its edge may bulge between the points of `_edges`; below 0.01 everywhere."""


def _edges(members: NDArray[np.int64], order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sixteen positions along the edge of each cell, degrees, shape (n, 16): the edges are curves."""
    from cdshealpix import vertices

    if len(members) == 0:
        return np.empty((0, 16)), np.empty((0, 16))
    lon, lat = vertices(members.astype(np.uint64), order, step=4)
    return np.asarray(lon.deg), np.asarray(lat.deg)


def _extents(
    members: NDArray[np.int64], order: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """West, east, south and north of cells, degrees, with west <= east (beyond 0...360 where need be).

    Longitude and latitude are monotonic along every edge of a HEALPix cell, so its corners are its extremes. A corner
    on a pole has no longitude of its own, and the edges that lead to it are meridians.
    """
    from cdshealpix import vertices

    if len(members) == 0:
        return (np.empty(0),) * 4
    lon, lat = (np.asarray(angle.deg) for angle in vertices(members.astype(np.uint64), order))
    middle = healpix.centres_of(members, order)[0][:, None]
    offset = (lon - middle + 180.0) % 360.0 - 180.0
    offset[np.abs(lat) > 90.0 - _ROUNDING_DEG] = 0.0
    pad = _ROUNDING_DEG
    return (
        (middle[:, 0] + offset.min(axis=1)) - pad,
        (middle[:, 0] + offset.max(axis=1)) + pad,
        lat.min(axis=1) - pad * (lat.min(axis=1) > -90.0 + pad),
        lat.max(axis=1) + pad * (lat.max(axis=1) < 90.0 - pad),
    )


def _order_for(radius_deg: float, least: int) -> int:
    """Order whose cells are small beside a region; deep orders are for regions of arcseconds."""
    cell_deg = 58.6
    return int(np.clip(np.ceil(np.log2(_CELLS_ACROSS * cell_deg / radius_deg)), least, 24))


def _check_ra(what: str, ra: float) -> None:
    if not RA_MIN_DEG <= ra <= RA_MAX_DEG:
        raise UsageError(
            f"right ascension {ra:g} is not within {RA_MIN_DEG:g}...{RA_MAX_DEG:g} degrees", place=what, value=ra
        )


def _check_dec(what: str, dec: float) -> None:
    if not -90.0 <= dec <= 90.0:
        raise UsageError(f"declination {dec:g} is not within -90...90 degrees", place=what, value=dec)


def __dir__() -> list[str]:
    return sorted(__all__)
