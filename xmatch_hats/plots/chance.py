"""How many rows of a catalogue lie by chance so near to what was matched: from its own density around each position.

Rows are taken to lie at random, independently of what is matched (a Poisson process of density rho). Around a position,
``2 pi rho r dr`` unrelated rows are then expected at separations between r and r + dr. For one of these to be the
nearest, no other may lie nearer, the probability of which is ``exp(-pi rho r**2)``, so that ``1 - exp(-pi rho r**2)``
of the positions have an unrelated row within r (Downes et al. 1986, MNRAS 218, 31).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.verify.maps import read_map
from xmatch_hats.errors import CatalogError
from xmatch_hats.healpix import MAX_ORDER
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.plots.tallies import CellCounts

FINEST_ORDER = 8
"""Of the cells that a density is taken from: 0.05 square degrees."""
ROWS_PER_CELL = 100
"""At least, in half of the cells: a density is then right to a tenth. Cells of a sparse catalogue are larger."""
WHOLE = 0.999
"""Fraction of a cell beyond which it is covered."""
SQUARE_ARCSEC = 4.0 * np.pi * (180.0 * 3600.0 / np.pi) ** 2
"""Of the whole sky."""
SQUARE_DEG = SQUARE_ARCSEC / 3600.0**2


@dataclass(frozen=True)
class Density:
    """Rows of a catalogue per square arcsecond, by cell."""

    order: int
    """HEALPix order of the cells."""
    per_square_arcsec: NDArray[np.float64]
    """Shape (12 * 4**order,)."""
    source: str
    """Where it comes from, for people."""

    def coarser(self, order: int) -> Density:
        """The same in cells of an order that is not finer."""
        parts = 4 ** (self.order - order)
        return Density(order, self.per_square_arcsec.reshape(-1, parts).mean(axis=1), self.source)


def local_density(copy: LocalCopy) -> Density:
    """Count the rows of a catalogue by cell.

    Its occupancy map tells them; where it has none that is fine enough, the index column of all of its rows is read.

    Parameters
    ----------
    copy : LocalCopy

    Raises
    ------
    CatalogError
        Neither can be read.
    """
    rows, counted = _rows_by_cell(copy)
    return make_density(rows, copy.coverage.ranges, counted)


def make_density(rows: NDArray[np.int64], ranges: NDArray[np.int64], counted: str) -> Density:
    """Make a density of counts.

    Parameters
    ----------
    rows : ndarray of int64, shape (12 * 4**FINEST_ORDER,)
        Number of rows of each cell.
    ranges : ndarray of int64, shape (m, 2)
        Where on the sky they were counted (`xmatch_hats.healpix`).
    counted : str
        What was counted, for people.
    """
    covered = covered_fraction(ranges, np.arange(12 << 2 * FINEST_ORDER, dtype=np.int64), FINEST_ORDER)
    # A cell on the border of the coverage holds rows of both sides of it.
    whole = covered > WHOLE
    if not whole.any():
        whole = covered > 0
    order = FINEST_ORDER
    held, areas = np.where(whole, rows, 0), np.where(whole, covered, 0.0)
    while order > 0 and _median(held) < ROWS_PER_CELL:
        order, held, areas = order - 1, _summed(held), _summed(areas)
    area = SQUARE_ARCSEC / (12 * 4**FINEST_ORDER)
    cell_deg2 = SQUARE_DEG / (12 * 4**order)
    source = f"{counted}, in HEALPix cells of order {order} ({cell_deg2:.3g} square degrees)"
    return Density(order, _ratio(held, areas, order) / area, source)


def expected_pairs(
    density: Density, sky: CellCounts, edges: NDArray[np.float64], n_neighbors: int | None
) -> NDArray[np.float64]:
    """Pairs by chance in bins of separation, if rows of the catalogue lay at random at their local density.

    Of all pairs these are ``2 pi rho r dr`` for each input. Of the `n_neighbors` nearest they are fewer, where so many
    lie within `r` already.

    Parameters
    ----------
    density : Density
    sky : CellCounts
        Inputs by cell and value of `MatchStatus`, of those that lie on the sky.
    edges : ndarray of float64, shape (n + 1,)
        Of the bins, arcsec.
    n_neighbors : int or None
        None for all.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    order = min(density.order, sky.settled().order)
    cells, counts = sky.at(order)
    # Those outside of the coverage could not find anybody.
    inputs = searched(counts)
    # Cells of the same density, to 0.1 percent, are one.
    rho, place = np.unique(_rounded(density.coarser(order).per_square_arcsec[cells]), return_inverse=True)
    inputs = np.bincount(place, weights=inputs, minlength=len(rho))
    pairs = np.array([float(inputs @ _within(np.pi * rho * edge**2, n_neighbors)) for edge in edges])
    return np.diff(pairs)


def searched(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Inputs by cell that are matched or unmatched, of counts by cell and status."""
    return np.asarray(counts[MatchStatus.MATCHED] + counts[MatchStatus.UNMATCHED])


def _within(mean: NDArray[np.float64], n_neighbors: int | None) -> NDArray[np.float64]:
    """Expected number of the nearest rows within a disc that holds `mean` rows on average."""
    if n_neighbors is None:
        return mean
    # The j-th nearest lies within it if it holds at least j.
    return np.asarray(sum(gammainc(j, mean) for j in range(1, n_neighbors + 1)))


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(values, out=np.full(len(values), -np.inf), where=values > 0)
    return np.exp(np.round(logs, 3))


def rows_by_map(copy: LocalCopy) -> tuple[NDArray[np.int64], int, str] | None:
    """Rows by cell as an occupancy map of the copy tells them, its order, and its name; None without one that is right.

    Raises
    ------
    CatalogError
        A map cannot be read.
    """
    for path in (copy.main_path / name for name in ("skymap.fits", "point_map.fits")):
        if not path.is_file():
            continue
        image = _read(path)
        order = (len(image) // 12).bit_length() // 2
        if order >= FINEST_ORDER and int(image.sum()) == copy.total_rows:
            return image, order, path.name
    return None


def _rows_by_cell(copy: LocalCopy) -> tuple[NDArray[np.int64], str]:
    if (mapped := rows_by_map(copy)) is not None:
        image, order, name = mapped
        rows = image.reshape(-1, 4 ** (order - FINEST_ORDER)).sum(axis=1)
        return rows, f"rows of {copy.name} as its {name} counts them"
    image = np.zeros(12 << 2 * FINEST_ORDER, np.int64)
    for index in copy.read_healpix():
        cells, counts = np.unique(index >> 2 * (MAX_ORDER - FINEST_ORDER), return_counts=True)
        image[cells] += counts
    return image, f"rows of {copy.name}, counted"


def _ratio(held: NDArray[np.int64], areas: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Rows to area by cell; of a cell without an area, those of the smallest cell around it that has some."""
    ratio = np.divide(held, areas, out=np.full(len(held), np.nan), where=areas > 0)
    around = ratio
    if order > 0:
        around = np.repeat(_ratio(_summed(held), _summed(areas), order - 1), 4)
    elif areas.sum() > 0:
        around = np.full(len(held), held.sum() / areas.sum())
    return np.nan_to_num(np.where(np.isnan(ratio), around, ratio))


def _summed(values: NDArray[Any]) -> NDArray[Any]:
    """Sums over the four cells of each cell of the order above."""
    return np.asarray(values.reshape(-1, 4).sum(axis=1))


def _median(held: NDArray[np.int64]) -> float:
    found = held[held > 0]
    return float(np.median(found)) if len(found) else 0.0


def _read(path: Path) -> NDArray[np.int64]:
    try:
        return read_map(path)
    except Exception as error:  # a damaged FITS file raises anything
        raise CatalogError(f"cannot be read: {error}", place=path) from error


def covered_fraction(ranges: NDArray[np.int64], cells: NDArray[np.int64], order: int) -> NDArray[np.float64]:
    """Fraction of each of some cells of an order that ranges cover."""
    size = 1 << 2 * (MAX_ORDER - order)
    return (_length_below(ranges, (cells + 1) * size) - _length_below(ranges, cells * size)) / size


def _length_below(ranges: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Length of all ranges below each edge: whole ones, and the part of the one that it falls into."""
    sums = np.concatenate(([0], np.cumsum(ranges[:, 1] - ranges[:, 0])))
    at = np.searchsorted(ranges[:, 0], edges, side="right")
    below = sums[at]
    inside = at > 0
    below[inside] -= np.maximum(0, ranges[at[inside] - 1, 1] - edges[inside])
    return below
