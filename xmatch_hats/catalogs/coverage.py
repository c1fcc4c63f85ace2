"""Where on the sky a local copy is complete, so that an empty answer means that nothing is there.

A coverage is an *inner* map: every source of every cell of it was copied. `Coverage.contains_discs` tells which search
discs lie wholly within it; it never says so of a disc that does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xmatch_hats import healpix
from xmatch_hats.catalogs import moc_files
from xmatch_hats.catalogs.border import Border
from xmatch_hats.errors import CoverageError
from xmatch_hats.sphere import ARCSEC_PER_RADIAN

if TYPE_CHECKING:
    from mocpy import MOC

__all__ = ["Coverage", "CoverageKind"]

CoverageKind = Literal["all-sky", "moc", "region", "rows"]


class Coverage:
    """The part of the sky that a copy covers.

    Parameters
    ----------
    kind : {"all-sky", "moc", "region", "rows"}
        Where the knowledge comes from: the user's word, the user's map, the region that was pulled, or an estimate from
        the rows themselves.
    ranges : ndarray of int64, shape (m, 2)
        Ranges of covered cells (`xmatch_hats.healpix`).
    order : int
        HEALPix order of the finest cells of the map.
    source : str
        What it was made from, for people.

    Raises
    ------
    CoverageError
        The ranges are not sorted, disjoint ranges of the sky.
    """

    def __init__(self, kind: CoverageKind, ranges: NDArray[np.int64], order: int, source: str = "") -> None:
        if kind not in get_args(CoverageKind):
            raise CoverageError(f"unknown kind of coverage {kind!r}", value=kind)
        ranges = np.ascontiguousarray(ranges, dtype=np.int64).reshape(-1, 2)
        if not 0 <= order <= healpix.MAX_ORDER or not healpix.check_ranges(ranges):
            raise CoverageError("the coverage map holds cells that do not exist", place=source or None)
        self.kind: CoverageKind = kind
        self.order = order
        self.source = source
        self._ranges = healpix.merge_ranges(ranges)

    def __repr__(self) -> str:
        estimated = ", estimated" if self.estimated else ""
        return f"<Coverage {self.kind}{estimated}: {self.sky_fraction:.4%} of the sky at order {self.order}>"

    @classmethod
    def all_sky(cls) -> Coverage:
        """The whole sky."""
        return cls("all-sky", np.array([[0, healpix.FULL_SKY_END]]), 0)

    @classmethod
    def from_moc_file(cls, path: str | Path) -> Coverage:
        """A map that the user gives: a spatial MOC in FITS, JSON or ASCII.

        Raises
        ------
        CoverageError
            The file is missing, or is not a spatial MOC in equatorial coordinates.
        """
        moc = moc_files.read_moc(Path(path))
        return cls.from_moc(moc, "moc", str(path))

    @classmethod
    def from_moc(cls, moc: MOC, kind: CoverageKind = "moc", source: str = "") -> Coverage:
        """A coverage of a `mocpy.MOC`."""
        return cls(kind, moc.to_depth29_ranges.astype(np.int64), int(moc.max_order), source)

    @classmethod
    def from_rows(cls, healpix29: NDArray[np.integer] | Iterable[NDArray[np.integer]]) -> Coverage:
        """Estimate the coverage from the rows of a copy.

        Parameters
        ----------
        healpix29 : ndarray of int, or iterable of ndarray of int
            Nested cells at order 29 of all rows; an iterable is read once, array by array, and never held.

        Returns
        -------
        Coverage
            Of kind "rows". Empty if there are too few rows to tell (fewer than 30 in a cell of any order): every
            position without a match is then outside the coverage.
        """
        from xmatch_hats.catalogs.coverage_rows import estimate

        arrays = [healpix29] if isinstance(healpix29, np.ndarray) else healpix29
        ranges, order = estimate(arrays)
        return cls("rows", ranges, order, "the rows of the copy")

    @property
    def estimated(self) -> bool:
        """Whether it is an estimate rather than knowledge."""
        return self.kind == "rows"

    @property
    def ranges(self) -> NDArray[np.int64]:
        """Covered cells as ranges at order 29, shape (m, 2)."""
        return self._ranges

    @cached_property
    def sky_fraction(self) -> float:
        """Fraction of the sky that is covered, 0...1."""
        return healpix.sky_fraction(self._ranges)

    @property
    def moc(self) -> MOC:
        """The map as a `mocpy.MOC`."""
        return moc_files.moc_of(self._ranges, self.order)

    def summary(self) -> dict[str, Any]:
        """What a manifest and `catalog info` tell of it."""
        return {
            "kind": self.kind,
            "estimated": self.estimated,
            "order": self.order,
            "sky_fraction": self.sky_fraction,
            "source": self.source,
        }

    def contains_discs(self, ra: ArrayLike, dec: ArrayLike, radius_arcsec: float) -> NDArray[np.bool_]:
        """Tell which discs lie wholly within the coverage.

        Parameters
        ----------
        ra, dec : array_like of float, shape (n,)
            Degrees; any right ascension. Positions that are not on the sphere are in no coverage.
        radius_arcsec : float
            Radius of the discs, arcseconds.

        Returns
        -------
        ndarray of bool, shape (n,)
            Never true for a disc of which a part lies outside; true for every disc that keeps more than the longest
            diagonal of a cell of the map away from its border, whatever the radius.

        Examples
        --------
        >>> Coverage.all_sky().contains_discs([10.0, float("nan")], [-5.0, 0.0], 2.0)
        array([ True, False])
        """
        ra = np.asarray(ra, dtype=np.float64)
        dec = np.asarray(dec, dtype=np.float64)
        inside = np.isfinite(ra) & (dec >= -90.0) & (dec <= 90.0)
        if len(self._ranges) == 0:
            return np.zeros(ra.shape, dtype=bool)
        if self.sky_fraction >= 1.0:
            return inside
        sure = np.flatnonzero(inside)
        where = healpix.cells_of(ra[sure], dec[sure])
        radius_rad = max(0.0, radius_arcsec) / ARCSEC_PER_RADIAN
        # The cheap test settles nearly all positions of a survey; only those near the border go through the tree.
        deep = healpix.in_ranges(where, self._border.interior(radius_rad))
        close = np.flatnonzero(~deep & healpix.in_ranges(where, self._ranges))
        deep[close] = self._border.further_than(ra[sure[close]], dec[sure[close]], radius_rad)
        inside[sure] = deep
        return inside

    @cached_property
    def _border(self) -> Border:
        return Border(self._ranges, self.order)

    def save(self, folder: str | Path) -> None:
        """Write ``coverage.fits`` and ``coverage.json`` into a folder, each at once or not at all."""
        moc_files.save(Path(folder), self.summary(), self._ranges)

    @classmethod
    def load(cls, folder: str | Path) -> Coverage:
        """Read what `save` wrote.

        Raises
        ------
        CoverageError
            A file is missing, damaged, or does not belong to the other.
        """
        summary, ranges = moc_files.load(Path(folder))
        return cls(summary["kind"], ranges, summary["order"], summary["source"])


def __dir__() -> list[str]:
    return sorted(__all__)
