"""Searching one copy for the rows of a region: a cone, or a box in right ascension and declination.

Only the main table is read, and of it only partitions and row groups whose bounds meet the region's; the row itself
decides, in float64. So nothing depends on margins, and a cone may be as wide as the sky. Memory is bounded by one row
group of a partition, and the rows found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cdshealpix.nested as healpix
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN, Partition
from xmatch_hats.catalogs.region import Box as SkyBox
from xmatch_hats.errors import PartitionReadError, PositionError, RadiusError, UsageError
from xmatch_hats.sphere import PositionFault, position_faults, separation_arcsec, unit_vectors
from xmatch_hats.tables.metadata import make_field

__all__ = [
    "DISTANCE_FIELD",
    "Bounds",
    "Box",
    "Cone",
    "Floats",
    "Region",
    "box_rows",
    "cone_rows",
    "is_covered",
    "partition_bounds",
    "region_rows",
]

Floats = NDArray[np.float64]

DISTANCE_FIELD = make_field(
    "_dist_arcsec", pa.float64(), unit="arcsec", ucd="pos.angDistance", description="Distance to the centre"
)
_SLACK_DEG = 1e-8
"""Bounds are widened by it, so that their own rounding loses nothing; rows are decided without it."""
_ARCSEC_PER_HALF_TURN = 180.0 * 3600.0


@dataclass(frozen=True)
class Bounds:
    """A window of right ascension, eastward from `ra_min`, and one of declination, in degrees."""

    ra_min: float
    width: float
    """Extent in right ascension, 0 to 360."""
    dec_min: float
    dec_max: float

    def meets(self, other: Bounds) -> bool:
        """Whether two windows have a point in common, or nearly so."""
        if self.dec_min > other.dec_max + _SLACK_DEG or other.dec_min > self.dec_max + _SLACK_DEG:
            return False
        ahead = (other.ra_min - self.ra_min) % 360.0
        return ahead <= self.width + _SLACK_DEG or 360.0 - ahead <= other.width + _SLACK_DEG


class Region(Protocol):
    """What `search` looks for."""

    @property
    def bounds(self) -> Bounds:
        """A window that holds the whole region."""

    def contains(self, ra: Floats, dec: Floats) -> NDArray[np.bool_]:
        """Tell which positions, in degrees, lie in it."""


@dataclass(frozen=True)
class Cone:
    """All positions within a radius of a centre.

    Raises
    ------
    PositionError
        The centre is not on the sphere.
    RadiusError
        The radius is not within 0...180 degrees.
    """

    ra: float
    """Degrees."""
    dec: float
    """Degrees."""
    radius_arcsec: float

    def __post_init__(self) -> None:
        fault = PositionFault(int(position_faults([self.ra], [self.dec])[0]))
        if fault:
            raise PositionError(fault.reason, place=f"centre {self.ra} {self.dec}", value=(self.ra, self.dec))
        if not 0.0 < self.radius_arcsec <= _ARCSEC_PER_HALF_TURN:
            bound = "above 180 degrees" if self.radius_arcsec > 0.0 else "not above 0"
            raise RadiusError(f"a radius of {self.radius_arcsec:.12g} arcsec is {bound}", value=self.radius_arcsec)

    @property
    def bounds(self) -> Bounds:
        """Window that holds the cone; all right ascensions where it holds a pole."""
        radius = self.radius_arcsec / 3600.0 * (1.0 + 1e-12) + _SLACK_DEG
        low, high = self.dec - radius, self.dec + radius
        if low <= -90.0 or high >= 90.0:
            return Bounds(0.0, 360.0, max(low, -90.0), min(high, 90.0))
        half = float(np.degrees(np.arcsin(min(1.0, np.sin(np.radians(radius)) / np.cos(np.radians(self.dec))))))
        return Bounds((self.ra - half) % 360.0, 2.0 * half, low, high)

    def distances(self, ra: Floats, dec: Floats) -> Floats:
        """Separations from the centre in arcseconds."""
        return separation_arcsec(unit_vectors(ra, dec), unit_vectors(self.ra, self.dec))

    def contains(self, ra: Floats, dec: Floats) -> NDArray[np.bool_]:
        """Tell which positions, in degrees, lie within the radius.

        Examples
        --------
        >>> Cone(0.0, 90.0, 3600.0).contains(np.array([10.0, 190.0]), np.array([89.5, 88.5]))
        array([ True, False])
        """
        return self.distances(ra, dec) <= self.radius_arcsec


@dataclass(frozen=True)
class Box:
    """All positions of a window, borders included; through RA 0 where `ra_min` exceeds `ra_max`.

    Raises
    ------
    UsageError
        The window is empty or not on the sphere.
    """

    ra_min: float
    """Degrees."""
    ra_max: float
    """Degrees, reached from `ra_min` eastward."""
    dec_min: float
    dec_max: float

    def __post_init__(self) -> None:
        corners = position_faults([self.ra_min, self.ra_max], [self.dec_min, self.dec_max])
        for fault, corner in zip(corners, ((self.ra_min, self.dec_min), (self.ra_max, self.dec_max)), strict=True):
            if fault:
                raise UsageError(PositionFault(int(fault)).reason, place=f"corner {corner[0]} {corner[1]}")
        if self.dec_min >= self.dec_max or self.ra_min == self.ra_max:
            raise UsageError("the box is empty", hint="give RA_MIN RA_MAX DEC_MIN DEC_MAX, DEC_MIN below DEC_MAX")

    @property
    def width(self) -> float:
        """Extent in right ascension, degrees."""
        span = self.ra_max - self.ra_min
        return 360.0 if span >= 360.0 else span % 360.0

    @property
    def bounds(self) -> Bounds:
        """The box itself."""
        return Bounds(self.ra_min % 360.0, self.width, self.dec_min, self.dec_max)

    def contains(self, ra: Floats, dec: Floats) -> NDArray[np.bool_]:
        """Tell which positions, in degrees, lie in the box."""
        in_dec = (dec >= self.dec_min) & (dec <= self.dec_max)
        if self.width >= 360.0:
            return in_dec
        # Compared as they are, borders are exact: a difference of angles would round.
        # The second remainder is for what the first rounds up to 360.
        low, high, ra = self.ra_min % 360.0, self.ra_max % 360.0, np.mod(np.mod(ra, 360.0), 360.0)
        in_ra = (ra >= low) & (ra <= high) if low <= high else (ra >= low) | (ra <= high)
        return in_dec & in_ra


def cone_rows(copy: LocalCopy, cone: Cone, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows within a cone, by distance; equal distances go by the id.

    Parameters
    ----------
    copy : LocalCopy
    cone : Cone
    columns : sequence of str, optional
        Names of the copy or of VizieR; default all.

    Returns
    -------
    pyarrow.Table
        The columns asked for, and ``_dist_arcsec``.

    Raises
    ------
    CatalogError
        The copy has no such column.
    PartitionReadError
        A partition cannot be read.

    Examples
    --------
    >>> from xmatch_hats.catalogs.copy import open_copy
    >>> rows = cone_rows(open_copy("allwise"), Cone(357.37, 18.74, 600.0), ["AllWISE", "W1mag"])
    >>> rows.column_names
    ['designation', 'w1mpro', '_dist_arcsec']
    """
    asked = copy.column_names(columns)
    rows = _search(copy, cone, asked)
    distance = cone.distances(_floats(rows, copy.ra_column), _floats(rows, copy.dec_column))
    # pyarrow's sort is exact for 64-bit ids, and stable where there is none.
    keys = pa.table({"distance": distance, "id": rows[copy.id_column or HEALPIX_COLUMN]})
    order = pc.sort_indices(keys, sort_keys=[("distance", "ascending"), ("id", "ascending")])
    return rows.select(asked).append_column(DISTANCE_FIELD, pa.array(distance)).take(order)


def box_rows(copy: LocalCopy, box: Box, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows within a box, by `_healpix_29`; parameters and errors are those of `cone_rows`.

    Returns
    -------
    pyarrow.Table
        The columns asked for.
    """
    asked = copy.column_names(columns)
    rows = _search(copy, box, asked)
    order = np.argsort(rows[HEALPIX_COLUMN].to_numpy(), kind="stable")
    return rows.select(asked).take(pa.array(order))


def region_rows(copy: LocalCopy, region: Region, columns: Sequence[str]) -> pa.Table:
    """Rows of any region, in the order of the copy; errors are those of `cone_rows`.

    Returns
    -------
    pyarrow.Table
        The columns asked for.
    """
    asked = copy.column_names(columns)
    return _search(copy, region, asked).select(asked)


def is_covered(copy: LocalCopy, region: Cone | Box) -> bool:
    """Whether a copy surely holds every source of a region, as its recorded coverage says.

    Without a recorded coverage it is not sure.
    """
    if copy.manifest is None:
        return False
    if isinstance(region, Cone):
        return bool(copy.coverage.contains_discs([region.ra], [region.dec], region.radius_arcsec)[0])
    if copy.coverage.sky_fraction >= 1.0:
        return True
    touched = SkyBox(region.ra_min, region.ra_max, region.dec_min, region.dec_max).outer_ranges()
    covered = copy.coverage.ranges
    place = np.searchsorted(covered[:, 0], touched[:, 0], side="right") - 1
    return bool(len(covered)) and bool(np.all((place >= 0) & (touched[:, 1] <= covered[place, 1])))


def _search(copy: LocalCopy, region: Region, asked: list[str]) -> pa.Table:
    """Rows of a region in the order of the sphere, with all columns that ordering needs beside those asked for."""
    needed = [*asked, copy.ra_column, copy.dec_column, HEALPIX_COLUMN, *([copy.id_column] if copy.id_column else [])]
    schema = pa.schema([copy.schema.field(name) for name in dict.fromkeys(needed)])
    bounds = region.bounds
    found = [
        part
        for partition, window in zip(copy.partitions, partition_bounds(copy.partitions), strict=True)
        if bounds.meets(window)
        for path in _files(copy.partition_file(partition))
        for part in _file_rows(path, copy, region, schema)
    ]
    # Field metadata of a file may lack what the copy knows of its columns.
    return pa.concat_tables([part.cast(schema) for part in found]) if found else schema.empty_table()


def partition_bounds(partitions: Sequence[Partition]) -> list[Bounds]:
    """Windows of HEALPix cells: vertices are their extremes, in declination and along the parallels.

    Parameters
    ----------
    partitions : sequence of tuple of (int, int)
        Orders and nested pixels.
    """
    if not partitions:
        return []
    order, pixel = (np.array(column) for column in zip(*partitions, strict=True))
    pixel, order = pixel.astype(np.uint64), order.astype(np.uint8)
    lon, lat = healpix.vertices(pixel, order)
    ra, dec = lon.deg, lat.deg
    middle = healpix.healpix_to_lonlat(pixel, order)[0].deg
    # A pole has no right ascension: it counts as the middle. All other vertices lie within a quarter turn of that.
    offsets = np.where(np.abs(dec) > 90.0 - _SLACK_DEG, 0.0, (ra - middle[:, None] + 180.0) % 360.0 - 180.0)
    first, last = offsets.min(axis=1), offsets.max(axis=1)
    columns = ((middle + first) % 360.0, last - first, dec.min(axis=1), dec.max(axis=1))
    return [Bounds(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.parquet")) if path.is_dir() else [path]


def _file_rows(path: Path, copy: LocalCopy, region: Region, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read positions first, and the other columns only of row groups that hold rows of the region."""
    coordinates = [copy.ra_column, copy.dec_column]
    try:
        with pq.ParquetFile(path) as file:
            leaves = [file.schema.column(place).path for place in range(len(file.schema))]
            places = [leaves.index(name) for name in coordinates]
            for number in range(file.num_row_groups):
                if not _group_meets(file.metadata.row_group(number), places, region.bounds):
                    continue
                positions = file.read_row_group(number, columns=coordinates)
                inside = region.contains(*(_floats(positions, name) for name in coordinates))
                if inside.any():
                    yield file.read_row_group(number, columns=schema.names).select(schema.names).filter(inside)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise PartitionReadError(
            f"cannot be read: {first_line}", place=path, hint="run `xmatch-hats catalog verify` on the copy"
        ) from error


def _group_meets(group: Any, places: list[int], bounds: Bounds) -> bool:
    """Whether the statistics of a row group allow for rows in a window; without statistics anything may be there."""
    ra, dec = (group.column(place).statistics for place in places)
    if ra is None or dec is None or not (ra.has_min_max and dec.has_min_max):
        return True
    width = ra.max - ra.min
    return bounds.meets(Bounds(ra.min % 360.0, min(width, 360.0), dec.min, dec.max))


def _floats(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def __dir__() -> list[str]:
    return sorted(__all__)
