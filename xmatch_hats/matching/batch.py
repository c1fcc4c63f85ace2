"""One batch of positions on its way through the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from astropy import units as u
from astropy.table import Column
from astropy.utils.masked import Masked
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.errors import UsageError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.cells import radix_sort
from xmatch_hats.sphere import PositionFault, position_faults


@dataclass(frozen=True)
class Positions:
    """Valid positions, ascending along the sphere."""

    rows: NDArray[np.int64]
    """Input row of each, shape (n,)."""
    ra: NDArray[np.float64]
    """Degrees, as they were given: of any turn, shape (n,)."""
    dec: NDArray[np.float64]
    """Degrees, shape (n,)."""
    index: NDArray[np.int64]
    """Spatial indexes, ascending, shape (n,)."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, selection: NDArray[np.int64] | slice) -> Positions:
        """Return some of the positions."""
        return Positions(self.rows[selection], self.ra[selection], self.dec[selection], self.index[selection])

    def chunks(self, size: int) -> Iterator[Positions]:
        """Split into stretches of the sphere of at most ``size`` positions, so that each touches few partitions."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


@dataclass(frozen=True)
class Found:
    """Pairs of a batch or a part of it with rows of one catalogue."""

    left: NDArray[np.int64]
    """Input rows, shape (p,)."""
    rank: NDArray[np.int32]
    """1 for the nearest, shape (p,)."""
    distance_arcsec: NDArray[np.float64]
    """Separations, shape (p,)."""
    rows: pa.Table
    """The asked columns of the catalogue, p rows."""


def as_degrees(angles: ArrayLike) -> NDArray[np.float64]:
    """Angles as plain numbers.

    Parameters
    ----------
    angles : array_like
        Degrees, or a quantity or an astropy column with a unit of angle. May be masked.

    Returns
    -------
    ndarray of float64, same shape
        NaN where masked or missing.

    Raises
    ------
    UsageError
        They are no angles.
    """
    mask = unit = None
    # Plain conversion would drop the mask and the unit of these, and search wherever the bare numbers point.
    if isinstance(angles, u.Quantity | Column | Masked | np.ma.MaskedArray):
        mask, unit = getattr(angles, "mask", None), getattr(angles, "unit", None)
        angles = getattr(angles, "unmasked", angles)
        angles = np.ma.getdata(getattr(angles, "value", angles))
    try:
        degrees = np.asarray(angles, dtype=np.float64)
        if unit is not None and u.Unit(unit) != u.deg:
            degrees = u.Unit(unit).to(u.deg, degrees)
    except (TypeError, ValueError) as error:
        raise UsageError(f"positions must be numbers of degrees: {error}") from error
    return degrees if mask is None else np.where(mask, np.nan, degrees)


def sort_positions(ra: ArrayLike, dec: ArrayLike) -> tuple[Positions, NDArray[np.uint8]]:
    """Set the invalid positions of a batch aside, and sort the others along the sphere.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        Angles as `as_degrees` takes them.

    Returns
    -------
    positions : Positions
        The valid ones.
    faults : ndarray of uint8, shape (n,)
        Values of `PositionFault`.

    Raises
    ------
    UsageError
        The two are not numbers, one-dimensional and of one length.
    """
    ra, dec = as_degrees(ra), as_degrees(dec)
    if ra.ndim != 1 or ra.shape != dec.shape:
        raise UsageError(f"ra and dec must be two columns of one length, not of shapes {ra.shape} and {dec.shape}")
    faults = position_faults(ra, dec)
    rows = np.flatnonzero(faults == PositionFault.NONE)
    index, order = radix_sort(cells_of(ra[rows], dec[rows]))
    rows = rows[order]
    return Positions(rows, ra[rows], dec[rows], index), faults


def merge_found(parts: list[Found], schema: pa.Schema) -> Found:
    """Join parts that share no input row, by input row.

    Parameters
    ----------
    parts : list of Found
        Each by input row.
    schema : pyarrow.Schema
        Of their rows.
    """
    if not parts:
        none = np.empty(0, np.int64)
        return Found(none, none.astype(np.int32), none.astype(np.float64), schema.empty_table())
    if len(parts) == 1:
        return parts[0]
    left = np.concatenate([part.left for part in parts])
    order = np.argsort(left, kind="stable")
    table = pa.concat_tables([part.rows for part in parts])
    return Found(
        left[order],
        np.concatenate([part.rank for part in parts])[order],
        np.concatenate([part.distance_arcsec for part in parts])[order],
        table.take(pa.array(order)) if table.num_columns else table,
    )
