"""Maps of the sky: what to show of it, and how positions and cells come to lie in a picture of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.visualization.wcsaxes import WCSAxes
from astropy.visualization.wcsaxes.frame import EllipticalFrame, RectangularFrame
from astropy.wcs import WCS
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator
from numpy.typing import NDArray

from xmatch_hats.errors import UsageError
from xmatch_hats.healpix import cell_radius_rad, cells_of, centres_of
from xmatch_hats.plots.style import require_axes
from xmatch_hats.plots.tallies import CellCounts
from xmatch_hats.sphere import unit_vectors

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Floats = NDArray[np.float64]

_HALO = [withStroke(linewidth=2.5, foreground="white")]
WHOLE_SKY_FROM_DEG = 50.0
"""Distance from the centre of a region to its farthest cell from which on the whole sky is drawn."""
PIXELS = 720
"""Of a picture, from top to bottom."""
CELL_PIXELS = 5.0
"""Cells in a picture are at least so wide, or cannot be told apart."""
INPUTS_PER_CELL = 20
"""Of what is drawn, at least in half of the cells, so that a fraction means something."""
LARGEST_CELL = 1 / 16
"""Of the height of a picture: cells are not made wider to hold more."""
MOLLWEIDE_DEG = 2.0 * math.sqrt(2.0) * 180.0 / math.pi
"""Half of the width of a Mollweide map of the whole sky, in degrees along the equator as its WCS counts them."""
_SNAP = 20.0
"""How many times nearer a pole than its border a region has its centre, to be shown about the pole."""
_NICE_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
"""Degrees between the parallels that are drawn around a pole."""
_LONGEST_STROKE = 0.25
"""Of the width of a picture: what is longer connects the two edges of the sky."""


@dataclass(frozen=True)
class SkyView:
    """The part of the sky that a map shows."""

    ra: float
    """Right ascension of its centre, degrees."""
    dec: float
    half_width_deg: float
    """Half of its height; of the whole sky, `MOLLWEIDE_DEG`, which is half of its width."""

    @property
    def is_whole_sky(self) -> bool:
        """Whether it shows everything."""
        return self.half_width_deg == MOLLWEIDE_DEG

    @property
    def holds_pole(self) -> bool:
        """Whether a pole lies in it, with some sky around."""
        return 90.0 - abs(self.dec) < 0.9 * self.half_width_deg

    @property
    def size(self) -> tuple[int, int]:
        """Pixels, height and width."""
        return (PIXELS, 2 * PIXELS) if self.is_whole_sky else (PIXELS, PIXELS)

    def wcs(self) -> WCS:
        """World coordinates of its pixels: Mollweide of the whole sky, else equal-area about its centre."""
        height, width = self.size
        wcs = WCS(naxis=2)
        kind = "MOL" if self.is_whole_sky else "ZEA"
        wcs.wcs.ctype = [f"RA---{kind}", f"DEC--{kind}"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.crval = [self.ra, self.dec]
        wcs.wcs.crpix = [(width + 1) / 2, (height + 1) / 2]
        step = 2 * self.half_width_deg / width
        wcs.wcs.cdelt = [-step, step]
        return wcs


WHOLE_SKY = SkyView(180.0, 0.0, MOLLWEIDE_DEG)


def choose_view(ra: Floats, dec: Floats, slack_deg: float) -> SkyView:
    """Choose the part of the sky that shows all of some positions.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (n,)
        Degrees; the whole sky is shown for none.
    slack_deg : float
        What to show around them.
    """
    vectors = unit_vectors(ra, dec)
    mean = vectors.sum(axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-9)
    if not len(ra) or float((vectors @ mean).min()) <= math.cos(math.radians(WHOLE_SKY_FROM_DEG)):
        return WHOLE_SKY
    centre = math.degrees(math.atan2(mean[1], mean[0])) % 360.0, math.degrees(math.asin(min(1.0, max(-1.0, mean[2]))))
    widest = math.degrees(math.acos(min(1.0, float((vectors @ mean).min())))) + slack_deg
    if 90.0 - abs(centre[1]) < widest / _SNAP:
        centre = 0.0, math.copysign(90.0, centre[1])
    x, y = SkyView(*centre, 1.0).wcs().world_to_pixel_values(ra, dec)
    # Of a view that is a degree to each side, how many such would be needed.
    reach = float(max(np.abs(x - (PIXELS - 1) / 2).max(), np.abs(y - (PIXELS - 1) / 2).max())) / (PIXELS / 2)
    return SkyView(*centre, (reach + slack_deg) * 1.05)


def view_of_counts(sky: CellCounts) -> SkyView:
    """Choose the part of the sky that shows all that has been counted, in whole cells of the order that is drawn."""
    order = sky.settled().order
    while True:
        view = choose_view(*centres_of(sky.at(order)[0], order), math.degrees(cell_radius_rad(order)))
        # Larger cells reach farther, which takes a wider view, in which cells may have to be larger again.
        if (drawn := order_of_counts(sky, view)) >= order:
            return view
        order = drawn


def order_of_counts(sky: CellCounts, view: SkyView) -> int:
    """Finest order whose cells can be told apart in a view, or a coarser one whose cells hold enough."""
    width = view.half_width_deg * (1 if view.is_whole_sky else 2)
    order = min(sky.settled().order, _order_of(width * CELL_PIXELS / PIXELS))
    coarsest = min(order, _order_of(width * LARGEST_CELL))
    while order > coarsest and _median_held(sky, order) < INPUTS_PER_CELL:
        order -= 1
    return order


def _median_held(sky: CellCounts, order: int) -> float:
    held = sky.at(order)[1].sum(axis=0)
    return float(np.median(held)) if held.size else 0.0


def _order_of(width_deg: float) -> int:
    """Finest order whose cells are at least so wide: the root of their area."""
    return max(0, math.floor(math.log2(math.degrees(math.sqrt(math.pi / 3)) / width_deg)))


def sky_axes(ax: Axes | None, view: SkyView) -> Axes:
    """Axes for a map: those given, or new ones that show a view.

    Parameters
    ----------
    ax : Axes or None
        Astropy's WCSAxes show what they show already. Plain axes get right ascension along x, to the left, and
        declination along y, in degrees; if nothing is drawn on them yet they show the view.

    Raises
    ------
    UsageError
        Axes of another kind.
    """
    if ax is None:
        from matplotlib import pyplot

        return add_map(pyplot.figure(figsize=map_size(view), layout="constrained"), view)
    require_axes(ax)
    if isinstance(ax, WCSAxes):
        return ax
    if ax.name != "rectilinear":
        raise UsageError(
            f"a map of the sky cannot be drawn on axes of the projection {ax.name!r}",
            hint="give plain axes, astropy's WCSAxes, or none",
            value=ax,
        )
    if not ax.has_data():
        _show_on_plain(ax, view)
    elif not ax.xaxis_inverted():
        ax.invert_xaxis()
    return ax


def map_size(view: SkyView) -> tuple[float, float]:
    """Inches, width and height, of a figure that holds a map and a bar of colours."""
    return (9.5, 4.6) if view.is_whole_sky else (6.6, 5.4)


def add_map(figure: Figure | SubFigure, view: SkyView) -> Axes:
    """Add the axes of a view to a figure."""
    frame = EllipticalFrame if view.is_whole_sky else RectangularFrame
    axes: Any = figure.add_subplot(projection=view.wcs(), frame_class=frame)
    height, width = view.size
    axes.set(xlim=(-0.5, width - 0.5), ylim=(-0.5, height - 0.5), aspect="equal")
    axes.coords.grid(color="#808080", alpha=0.5, linewidth=0.5)
    ra, dec = axes.coords
    for one in (ra, dec):
        one.set_major_formatter(_format(view))
    if view.is_whole_sky:
        # Along the equator, and legible on any colour; but not at its ends, where declination 0 is written.
        ra.set_ticks(np.arange(60, 360, 60) * u.deg)
        dec.set_ticks(spacing=30 * u.deg)
        ra.set_ticklabel_position("h")
        ra.set_ticklabel(path_effects=_HALO)
        ra.set_axislabel("")
        axes.text(0.5, -0.06, "Right ascension (deg)", transform=axes.transAxes, horizontalalignment="center")
        dec.set_axislabel("Declination (deg)")
    elif view.holds_pole:
        _label_pole(axes, view)
    else:
        ra.set_axislabel("Right ascension (deg)")
        dec.set_axislabel("Declination (deg)")
    return axes


def _label_pole(axes: Any, view: SkyView) -> None:
    """Write on parallels and meridians around a pole what they are: they meet the frame anyhow and anywhere."""
    sign = math.copysign(1.0, view.dec)
    step = next((step for step in _NICE_STEPS if view.half_width_deg < 5.0 * step), _NICE_STEPS[-1])
    parallels = sign * (90.0 - step * np.arange(1, 5))
    meridians = np.arange(0.0, 360.0, 45.0)
    axes.coords[0].set_ticks(meridians * u.deg)
    axes.coords[1].set_ticks(parallels * u.deg)
    for one in axes.coords:
        one.set_ticks_visible(False)
        one.set_ticklabel_visible(False)
        one.set_axislabel("")
    axes.text(0.5, -0.04, "Right ascension and declination (deg)", transform=axes.transAxes, ha="center", va="top")
    far = np.full(len(meridians), sign * (90.0 - 3.5 * step))
    places = [(*place, f"{place[0]:g}°") for place in zip(meridians.tolist(), far.tolist(), strict=True)]
    places += [(22.5, parallel, f"{parallel:+.6g}°") for parallel in parallels[:3].tolist()]
    x, y = to_plane(axes, np.array([place[0] for place in places]), np.array([place[1] for place in places]))
    for across, up, (_, _, text) in zip(x.tolist(), y.tolist(), places, strict=True):
        axes.text(across, up, text, ha="center", va="center", fontsize="small", path_effects=_HALO, clip_on=True)


def _format(view: SkyView) -> str:
    """Degrees, with the decimals that ticks of the view need."""
    decimals = max(0, math.ceil(-math.log10(view.half_width_deg / 1.5)))
    return "d" if decimals == 0 else f"d.{'d' * decimals}"


def _show_on_plain(axes: Axes, view: SkyView) -> None:
    half = 90.0 if view.is_whole_sky else view.half_width_deg
    low, high = max(-90.0, view.dec - half), min(90.0, view.dec + half)
    shrink = math.cos(math.radians(view.dec))
    to_pole = low == -90.0 or high == 90.0
    width = 180.0 if to_pole else min(180.0, half / shrink)
    axes.set(xlim=(view.ra + width, view.ra - width), ylim=(low, high))
    axes.set_aspect("auto" if to_pole and not view.is_whole_sky else 1.0 if view.is_whole_sky else 1.0 / shrink)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{round(x % 360.0, 9):g}"))
    axes.xaxis.set_major_locator(MultipleLocator(60.0) if view.is_whole_sky else MaxNLocator(5))
    if view.is_whole_sky:
        axes.yaxis.set_major_locator(MultipleLocator(30.0))
    axes.set(xlabel="Right ascension (deg)", ylabel="Declination (deg)")


def to_plane(axes: Axes, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Where positions, degrees, of any shape, lie in the data coordinates of axes; NaN where they do not."""
    if isinstance(axes, WCSAxes):
        x, y = axes.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg", frame="icrs"))
        return np.asarray(x, np.float64), np.asarray(y, np.float64)
    middle = sum(axes.get_xlim()) / 2.0
    return middle + (ra - middle + 180.0) % 360.0 - 180.0, np.asarray(dec, np.float64)


def from_plane(axes: Axes, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Positions, degrees, of points in the data coordinates of axes; NaN beside the sky."""
    if isinstance(axes, WCSAxes):
        there = axes.wcs.pixel_to_world(x, y).icrs
        return np.asarray(there.ra.deg), np.asarray(there.dec.deg)
    return x % 360.0, np.where(np.abs(y) <= 90.0, y, np.nan)


def paint(axes: Axes, values: Callable[[Floats, Floats], Floats], **image: Any) -> AxesImage:
    """Paint a function of the position over all that axes show.

    Parameters
    ----------
    axes : Axes
        As `sky_axes` gives them.
    values : callable
        From right ascensions and declinations, degrees, shape (n,), to numbers, NaN for nothing.
    **image
        Of `Axes.imshow`.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide = abs(right - left) > 1.5 * abs(top - bottom)
    width, height = (2 * PIXELS, PIXELS) if wide else (PIXELS, PIXELS)
    x, y = np.meshgrid(_middles(left, right, width), _middles(bottom, top, height))
    ra, dec = from_plane(axes, x.ravel(), y.ravel())
    shown = np.full(height * width, np.nan)
    on_sky = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    shown[on_sky] = values(ra[on_sky], dec[on_sky])
    picture = axes.imshow(
        shown.reshape(height, width), origin="lower", extent=(left, right, bottom, top), interpolation="nearest",
        aspect=axes.get_aspect(), **image,
    )  # fmt: skip
    # Drawing an image shows all of it the usual way round.
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return picture


def _middles(first: float, last: float, number: int) -> Floats:
    return np.asarray(first + (np.arange(number) + 0.5) * ((last - first) / number))


def paint_cells(axes: Axes, cells: NDArray[np.int64], order: int, values: Floats, **image: Any) -> AxesImage:
    """Paint cells of one order, ascending, shape (n,), in their values."""

    def value_of(ra: Floats, dec: Floats) -> Floats:
        if not len(cells):
            return np.full(len(ra), np.nan)
        found = cells_of(ra, dec, order)
        at = np.minimum(np.searchsorted(cells, found), len(cells) - 1)
        return np.where(cells[at] == found, values[at], np.nan)

    return paint(axes, value_of, **image)


def trace(axes: Axes, ra: Floats, dec: Floats, **lines: Any) -> LineCollection:
    """Draw lines through positions, degrees, shape (lines, points): not where they leave the sky at its edge."""
    x, y = to_plane(axes, ra, dec)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    longest = _LONGEST_STROKE * abs(right - left)
    if not isinstance(axes, WCSAxes):
        # Where a line leaves on one side, a copy of it comes in on the other.
        x = np.unwrap(x, period=360.0)
        x, y = np.concatenate((x - 360.0, x, x + 360.0)), np.concatenate((y, y, y))
        longest = 180.0
    points = np.stack((x, y), axis=-1)
    strokes = np.stack((points[:, :-1], points[:, 1:]), axis=2).reshape(-1, 2, 2)
    with np.errstate(invalid="ignore"):
        short = np.abs(strokes[:, 1, 0] - strokes[:, 0, 0]) < longest
    strokes = strokes[short & np.isfinite(strokes).all(axis=(1, 2))]
    drawn = LineCollection(list(strokes), capstyle="round", **lines)
    axes.add_collection(drawn, autolim=False)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    return drawn


def colour_bar(axes: Axes, picture: AxesImage, label: str, **bar: Any) -> None:
    """Put a bar of the colours of a picture beside a map."""
    wide = isinstance(axes, WCSAxes) and axes.frame_class is EllipticalFrame
    figure = axes.get_figure()
    if figure is None:
        return
    drawn = figure.colorbar(picture, ax=axes, shrink=0.7 if wide else 0.85, pad=0.04, **bar)
    drawn.set_label(label)
    if isinstance(picture.norm, LogNorm):
        low, high = picture.get_clim()
        few_decades = high is not None and low is not None and high < 100.0 * low
        drawn.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,)))
        drawn.ax.yaxis.set_minor_locator(NullLocator() if few_decades else LogLocator(subs="auto"))
        drawn.ax.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1.0 else f"{value:g}")
        )
