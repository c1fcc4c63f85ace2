"""Where on the sky catalogues lie: their partitions, their coverage, cones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cdshealpix.nested
import numpy as np
from astropy import units as u
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgba
from numpy.typing import ArrayLike, NDArray

from xmatch_hats.display import counted
from xmatch_hats.errors import UsageError
from xmatch_hats.healpix import MAX_ORDER, cell_radius_rad, cells_of, centres_of, grow_ranges, in_ranges
from xmatch_hats.matching.batch import as_degrees
from xmatch_hats.plots.chance import SQUARE_DEG
from xmatch_hats.plots.results import arcsec
from xmatch_hats.plots.sky import Floats, SkyView, choose_view, colour_bar, paint, sky_axes, to_plane, trace
from xmatch_hats.plots.style import BLUE, DENSITIES, ORANGE, entitle, few, plain
from xmatch_hats.plots.subjects import coverage_of, name_of, opened, partition_ranges, partitions_of
from xmatch_hats.sphere import ARCSEC_PER_RADIAN, position_faults

_ENOUGH_CELLS = 64
"""Of a region, to tell where its border runs."""
_LONGEST_EDGE_DEG = 1.0
"""Straight pieces that borders of partitions are drawn of."""


def partitions(catalog: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the partitions of a catalogue, coloured by their HEALPix order.

    Parameters
    ----------
    catalog : str, Path, LocalCopy, lsdb.Catalog or hats.catalog.Catalog
        Of an LSDB catalogue that has been narrowed, those partitions that are left.
    ax : Axes, optional
        Astropy's WCSAxes, or plain ones, which then show degrees. By default a new map of all partitions.

    Returns
    -------
    Axes

    Raises
    ------
    UsageError
        It is something else than a catalogue, or these are no axes to draw a map on.
    CatalogNotFoundError, CatalogError
        There is no such copy, or it is damaged.
    """
    catalog = opened(catalog)
    pixels = partitions_of(catalog)
    ranges = partition_ranges(pixels)
    axes = sky_axes(ax, view_of_ranges(ranges))
    low, high = (int(pixels[:, 0].min()), int(pixels[:, 0].max())) if len(pixels) else (0, 0)
    # Neither the darkest nor the brightest end: borders and grid lie on them.
    colours = ListedColormap(colormaps[DENSITIES](np.linspace(0.35, 0.95, high - low + 1)))

    def order_at(ra: Floats, dec: Floats) -> Floats:
        return _looked_up(cells_of(ra, dec), ranges, pixels[:, 0].astype(np.float64))

    picture = paint(axes, order_at, cmap=colours, vmin=low - 0.5, vmax=high + 0.5)
    for order in np.unique(pixels[:, 0]).tolist():
        own = pixels[pixels[:, 0] == order, 1]
        trace(axes, *_borders(own, order), colors="black", linewidths=0.4)
    if high > low:
        colour_bar(axes, picture, "HEALPix order of the partition", ticks=range(low, high + 1))
    number = counted(len(pixels), "partition")
    orders = f" of order {low}" if low == high and len(pixels) else ""
    entitle(axes, f"{_before(name_of(catalog))}{number}{orders}")
    return axes


def coverage(
    moc_or_catalog: Any, *, ax: Axes | None = None, color: Any = BLUE, alpha: float = 0.5, label: str | None = None
) -> Axes:
    """Draw the part of the sky in which a catalogue is complete.

    Parameters
    ----------
    moc_or_catalog : mocpy.MOC, Coverage, str, Path, LocalCopy, lsdb.Catalog or hats.catalog.Catalog
        Of an LSDB catalogue, the coverage that its copy has recorded, as far as the partitions reach that are left of
        it; where none is recorded the map of occupied cells that it carries, else its partitions.
    ax : Axes, optional
        As of `partitions`; on a map that shows something already the coverage is drawn over that.
    color : Matplotlib colour, optional
    alpha : float, optional
        Its opacity.
    label : str, optional
        In a legend.

    Returns
    -------
    Axes

    Raises
    ------
    UsageError
        It is neither a catalogue nor a map, or these are no axes to draw a map on.
    CatalogNotFoundError, CatalogError
        There is no such copy, or it is damaged.
    """
    subject = opened(moc_or_catalog)
    covered = coverage_of(subject)
    axes = sky_axes(ax, view_of_ranges(covered.ranges))

    def inside(ra: Floats, dec: Floats) -> Floats:
        return np.where(in_ranges(cells_of(ra, dec), covered.ranges), 1.0, np.nan)

    paint(axes, inside, cmap=ListedColormap([to_rgba(color, alpha)]), vmin=0.0, vmax=2.0)
    if label is not None:
        # An image has no entry in a legend: an empty patch stands for it.
        axes.fill([], [], color=to_rgba(color, alpha), label=plain(label))
    area = few(covered.sky_fraction * SQUARE_DEG)
    estimated = ", estimated" if covered.estimated else ""
    share = f"{100 * covered.sky_fraction:.2g} % of the sky" if covered.sky_fraction < 1.0 else "the whole sky"
    # Given axes may be one panel of several, narrower than the title.
    gap = " " if ax is None else "\n"
    entitle(axes, f"{_before(name_of(subject))}coverage of {area} deg²{gap}({share}{estimated})")
    return axes


def cones(
    ra: ArrayLike | u.Quantity, dec: ArrayLike | u.Quantity, radius: ArrayLike | u.Quantity, *,
    names: Sequence[str] | None = None, ax: Axes | None = None, color: Any = ORANGE,
) -> Axes:  # fmt: skip
    """Draw cones to scale, with a mark in the middle of each: on a map of the whole sky most are too small to be seen.

    Parameters
    ----------
    ra, dec : array_like or Quantity, of one value or shape (n,)
        Centres, degrees.
    radius : array_like or Quantity, of one value or shape (n,)
        Arcseconds.
    names : sequence of str, optional
        Written beside them.
    ax : Axes, optional
        As of `partitions`. By default a new map of all cones.
    color : Matplotlib colour, optional

    Returns
    -------
    Axes

    Raises
    ------
    UsageError
        Positions that are not on the sphere, or no radius, or as many names.
    """
    lon, lat = np.broadcast_arrays(np.atleast_1d(as_degrees(ra)), np.atleast_1d(as_degrees(dec)))
    width = np.broadcast_to(arcsec(radius, "a radius"), lon.shape)
    if position_faults(lon, lat).any() or not (width > 0.0).all():
        raise UsageError("cones need centres on the sphere and radii above 0", value=(ra, dec, radius))
    if names is not None and len(names) != len(lon):
        raise UsageError(f"{len(lon)} cones have {len(names)} names", value=names)
    axes = sky_axes(ax, choose_view(lon, lat, float(width.max(initial=3600.0)) / 3600.0))
    trace(axes, *_circles(lon, lat, width), colors=[to_rgba(color)], linewidths=1.5)
    x, y = to_plane(axes, lon, lat)
    axes.scatter(x, y, marker="+", s=50, color=color, linewidths=1.5)
    for name, across, up in zip(() if names is None else names, x.tolist(), y.tolist(), strict=False):
        axes.annotate(
            plain(name), (across, up), xytext=(6, 4), textcoords="offset points", annotation_clip=True,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip
    return axes


def view_of_ranges(ranges: NDArray[np.int64]) -> SkyView:
    """Choose the part of the sky that shows ranges of cells of order 29."""
    order, cells = 3, np.empty(0, np.int64)
    while order <= MAX_ORDER and len(ranges):
        grown = grow_ranges(ranges, order) >> 2 * (MAX_ORDER - order)
        if (grown[:, 1] - grown[:, 0]).sum() >= _ENOUGH_CELLS or order == MAX_ORDER:
            cells = np.concatenate([np.arange(*pair) for pair in grown.tolist()])
            break
        order += 1
    return choose_view(*centres_of(cells, order), math.degrees(cell_radius_rad(min(order, MAX_ORDER))))


def _looked_up(cells: NDArray[np.int64], ranges: NDArray[np.int64], values: Floats) -> Floats:
    """Values of the ranges that cells of order 29 lie in, NaN of others."""
    if not len(ranges):
        return np.full(len(cells), np.nan)
    at = np.maximum(np.searchsorted(ranges[:, 0], cells, side="right") - 1, 0)
    return np.where((cells >= ranges[at, 0]) & (cells < ranges[at, 1]), values[at], np.nan)


def _borders(pixels: NDArray[np.int64], order: int) -> tuple[Floats, Floats]:
    """Closed lines around cells: right ascensions and declinations, degrees, shape (n, points)."""
    steps = max(1, math.ceil(math.degrees(2.0 * cell_radius_rad(order)) / _LONGEST_EDGE_DEG))
    lon, lat = cdshealpix.nested.vertices(pixels.astype(np.uint64), order, step=steps)
    ra, dec = (np.asarray(angle.deg) for angle in (lon, lat))
    return np.concatenate((ra, ra[:, :1]), axis=1), np.concatenate((dec, dec[:, :1]), axis=1)


def _circles(ra: Floats, dec: Floats, radius_arcsec: Floats) -> tuple[Floats, Floats]:
    """Circles on the sphere: right ascensions and declinations, degrees, shape (n, points)."""
    turn = np.linspace(0.0, 2.0 * np.pi, 129)
    lat, far = np.radians(dec)[:, None], (radius_arcsec / ARCSEC_PER_RADIAN)[:, None]
    sin_dec = np.sin(lat) * np.cos(far) + np.cos(lat) * np.sin(far) * np.cos(turn)
    across, along = np.sin(turn) * np.sin(far), np.cos(lat) * np.cos(far) - np.sin(lat) * np.sin(far) * np.cos(turn)
    return (ra[:, None] + np.degrees(np.arctan2(across, along))) % 360.0, np.degrees(np.arcsin(np.clip(sin_dec, -1, 1)))


def _before(name: str) -> str:
    return f"{name}: " if name else ""
