"""Maps of numbers: how dense a catalogue is, and where things match."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.plots.chance import SQUARE_DEG, covered_fraction, searched
from xmatch_hats.plots.results import Matches, matches_of, sky_of
from xmatch_hats.plots.sky import Floats, colour_bar, order_of_counts, paint_cells, sky_axes, view_of_counts
from xmatch_hats.plots.style import BLUE, DENSITIES, FRACTIONS, entitle, plain, plain_axes
from xmatch_hats.plots.subjects import count_rows, name_of, opened
from xmatch_hats.plots.tallies import CellCounts

_LEAST_COVERED = 0.25
"""Fraction of a cell from which on a density in it is drawn: of less it is noise."""
_LOG_FROM = 3.0
"""Ratio of the highest to the lowest density from which on a logarithmic scale of colours is of use."""
_BINS = 12


def density(catalog: Any, *, ax: Axes | None = None) -> Axes:
    """Draw how many rows of a catalogue, or positions of a table, lie in a square degree.

    Parameters
    ----------
    catalog : str, Path, LocalCopy, lsdb.Catalog, or a table
        The rows of a copy are counted by its occupancy map, if it has a fine one; else its index is read. An LSDB
        catalogue is computed. A table may be of pandas, astropy or pyarrow, or a SkyCoord.
    ax : Axes, optional
        As of `partitions`.

    Returns
    -------
    Axes
        Cells at the border of a copy's recorded coverage count for the part of them that is covered.

    Raises
    ------
    UsageError
        It is none of these, or these are no axes to draw a map on.
    TableError
        A table without coordinates.
    CatalogNotFoundError, CatalogError
        There is no such copy, or it is damaged.
    """
    catalog = opened(catalog)
    sky = count_rows(catalog)
    view = view_of_counts(sky)
    axes = sky_axes(ax, view)
    order = order_of_counts(sky, view)
    cells, counts = sky.at(order)
    area = np.full(len(cells), SQUARE_DEG / (12 * 4**order))
    if isinstance(catalog, LocalCopy) and not catalog.coverage.estimated:
        covered = covered_fraction(catalog.coverage.ranges, cells, order)
        area *= np.where(covered >= _LEAST_COVERED, covered, np.nan)
    values = counts[0] / area
    low, high = _limits(values)
    norm = "log" if high > _LOG_FROM * low else "linear"
    picture = paint_cells(axes, cells, order, values, cmap=DENSITIES, norm=norm, vmin=low, vmax=high)
    colour_bar(axes, picture, "Rows per square degree")
    name = name_of(catalog)
    entitle(axes, f"Density of {name}" if name else "Density")
    return axes


def _limits(values: Floats) -> tuple[float, float]:
    """Values that the colours reach from and to, without the most extreme ones."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 1.0, 10.0
    low, high = (float(value) for value in np.percentile(values, (1, 99)))
    return (low, high) if high > 1.02 * low else (low / 1.1, high * 1.1)


def match_fraction(
    result: Any, *, by: str | None = None, positions: Any = None, catalog: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw which fraction of what was searched has a match: on the sky, or against a column.

    What lies outside of the coverage, or was rejected, does not count: it was not searched.

    Parameters
    ----------
    result : table, lsdb.Catalog or MatchResult
        As `xmatch_hats.crossmatch` gives it with ``how="left"``.
    by : str, optional
        Column of numbers of the inputs, such as a magnitude, along which the fraction is drawn with its 68 % interval
        (Wilson 1927, JASA 22, 209). By default a map is drawn.
    positions : SkyCoord, table or pair of arrays in degrees, optional
        What was matched, for a map of a `MatchResult`, which does not hold it.
    catalog : str, optional
        Which one, if the table tells of several.
    ax : Axes, optional
        For a map as of `partitions`, else plain ones.

    Returns
    -------
    Axes

    Raises
    ------
    UsageError, TableError
        The result tells of no match, has no positions or no such column, or the axes do not fit.
    """
    matches = matches_of(result, catalog=catalog, positions=positions, column=by)
    if by is not None:
        return _fraction_along(matches, f"{by} ({matches.unit})" if matches.unit else by, ax)
    return fraction_map(sky_of(matches), matches.name, ax)


def fraction_map(sky: CellCounts, name: str, ax: Axes | None) -> Axes:
    """Draw the fraction of counts by cell and value of `MatchStatus` that are matched."""
    view = view_of_counts(sky)
    axes = sky_axes(ax, view)
    order = order_of_counts(sky, view)
    cells, counts = sky.at(order)
    tried = searched(counts)
    fraction = np.divide(counts[MatchStatus.MATCHED], tried, out=np.full(len(tried), np.nan), where=tried > 0)
    low, high = 0.0, 1.0
    if tried.any():
        low, high = (float(value) for value in np.percentile(fraction[tried > 0], (1, 99)))
    if high - low < 0.02:
        # What is as good as even is not made to look uneven.
        low, high = 0.0, 1.0
    picture = paint_cells(axes, cells, order, fraction, cmap=FRACTIONS, vmin=low, vmax=high)
    colour_bar(axes, picture, "matched / (matched + unmatched)")
    entitle(axes, f"Fraction of inputs with a match{_in(name)}")
    return axes


def _fraction_along(matches: Matches, label: str, ax: Axes | None) -> Axes:
    axes = plain_axes(ax, 6.8, 4.4)
    tried = np.isfinite(matches.column) & matches.tried
    values, matched = matches.column[tried], matches.status[tried] == MatchStatus.MATCHED
    if len(values):
        # Bins that hold as many each: their intervals are alike.
        edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, min(_BINS, 1 + len(values) // 10) + 1)))
        if len(edges) == 1:
            edges = np.array([edges[0] - 0.5, edges[0] + 0.5])
        total, _ = np.histogram(values, edges)
        found, _ = np.histogram(values[matched], edges)
        middle, low, high = _wilson(found, total)
        centres = (edges[1:] + edges[:-1]) / 2
        axes.errorbar(
            centres, middle, yerr=(middle - low, high - middle), xerr=np.diff(edges) / 2, fmt="o", color=BLUE,
            markersize=4, label=f"{len(values):,} inputs",
        )  # fmt: skip
        axes.legend(frameon=False)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(plain(label))
    axes.set_ylabel("matched / (matched + unmatched)")
    entitle(axes, f"Fraction of inputs with a match{_in(matches.name)}")
    return axes


def _wilson(found: NDArray[np.int64], total: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Fraction, and the bounds of its 68 % interval."""
    total = np.maximum(total, 1)
    share = found / total
    middle = (share + 0.5 / total) / (1.0 + 1.0 / total)
    half = np.sqrt(share * (1.0 - share) / total + 0.25 / total**2) / (1.0 + 1.0 / total)
    return share, np.minimum(middle - half, share), np.maximum(middle + half, share)


def _in(name: str) -> str:
    return f" in {name}" if name else ""
