"""Maps of the sky: values of HEALPix cells in a picture whose right ascension increases to the left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy import units as u
from astropy.visualization.wcsaxes.frame import EllipticalFrame, RectangularFrame
from astropy.wcs import WCS
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from xmatch_hats.bulk.report.tallies import CellCounts
from xmatch_hats.healpix import cell_radius_rad, cells_of, centres_of
from xmatch_hats.sphere import unit_vectors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


@dataclass(frozen=True)
class SkyView:
    """The part of the sky that a map shows, and the cells that it shows it in."""

    ra: float
    """Right ascension of its centre, degrees."""
    dec: float
    half_width_deg: float
    """Half of its height; of the whole sky, `MOLLWEIDE_DEG`, which is half of its width."""
    order: int
    """HEALPix order of its cells."""

    @property
    def is_whole_sky(self) -> bool:
        """Whether it shows everything."""
        return self.half_width_deg == MOLLWEIDE_DEG

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


def choose_view(sky: CellCounts) -> SkyView:
    """Choose what to show of a map: all that has been counted, in cells that are wide and full enough.

    Parameters
    ----------
    sky : CellCounts
        With at least one count.
    """
    finest = sky.settled().order
    cells, _ = sky.at(finest)
    ra, dec = centres_of(cells, finest)
    vectors = unit_vectors(ra, dec)
    mean = vectors.sum(axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-9)
    half, centre = MOLLWEIDE_DEG, (180.0, 0.0)
    if float((vectors @ mean).min()) > math.cos(math.radians(WHOLE_SKY_FROM_DEG)):
        centre = (math.degrees(math.atan2(mean[1], mean[0])) % 360.0, math.degrees(math.asin(mean[2])))
        x, y = SkyView(*centre, 1.0, 0).wcs().world_to_pixel_values(ra, dec)
        # Of a view that is a degree to each side, how many such would be needed.
        reach = float(max(np.abs(x - PIXELS / 2).max(), np.abs(y - PIXELS / 2).max())) / (PIXELS / 2)
        half = (reach + math.degrees(cell_radius_rad(finest))) * 1.05
    return SkyView(*centre, half, _order(sky, half))


def _order(sky: CellCounts, half_width_deg: float) -> int:
    """Finest order whose cells can be told apart, or a coarser one whose cells hold enough."""
    width = half_width_deg if half_width_deg == MOLLWEIDE_DEG else 2 * half_width_deg
    order = min(sky.order, _order_of(width * CELL_PIXELS / PIXELS))
    coarsest = min(order, _order_of(width * LARGEST_CELL))
    while order > coarsest and np.median(sky.at(order)[1].sum(axis=0)) < INPUTS_PER_CELL:
        order -= 1
    return order


def _order_of(width_deg: float) -> int:
    """Finest order whose cells are at least so wide: the root of their area."""
    return max(0, math.floor(math.log2(math.degrees(math.sqrt(math.pi / 3)) / width_deg)))


def raster(view: SkyView, cells: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Paint values of cells.

    Parameters
    ----------
    view : SkyView
    cells : ndarray of int64, shape (n,)
        Ascending, of the view's order.
    values : ndarray of float64, shape (n,)

    Returns
    -------
    ndarray of float64, shape `view.size`
        From the bottom to the top; NaN where there is no cell, and beside the sky.
    """
    height, width = view.size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ra, dec = view.wcs().pixel_to_world_values(x.ravel(), y.ravel())
    image = np.full(height * width, np.nan)
    on_sky = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    found = cells_of(ra[on_sky], dec[on_sky], view.order)
    at = np.minimum(np.searchsorted(cells, found), len(cells) - 1)
    known = cells[at] == found
    image[on_sky[known]] = values[at[known]]
    return image.reshape(height, width)


def draw_map(
    figure: Figure, view: SkyView, image: NDArray[np.float64], *, title: str, label: str, colours: str,
    limits: tuple[float, float],
) -> None:  # fmt: skip
    """Draw a map into an empty figure.

    Parameters
    ----------
    figure : Figure
    view : SkyView
    image : ndarray of float64
        As `raster` gives it.
    title, label : str
        Of the map, and of its values.
    colours : str
        Colour map.
    limits : (float, float)
        Values of the first and the last colour.
    """
    frame = EllipticalFrame if view.is_whole_sky else RectangularFrame
    axes = figure.add_subplot(projection=view.wcs(), frame_class=frame)
    shown = axes.imshow(
        image, origin="lower", interpolation="nearest", cmap=colours, vmin=limits[0], vmax=limits[1], aspect="equal"
    )
    axes.set_title(title)
    axes.coords.grid(color="#808080", alpha=0.5, linewidth=0.5)
    ra, dec = axes.coords
    if view.is_whole_sky:
        ra.set_ticks(spacing=60 * u.deg)
        dec.set_ticks(spacing=30 * u.deg)
        # Along the equator, and legible on any colour.
        ra.set_ticklabel_position("h")
        ra.set_ticklabel(path_effects=[withStroke(linewidth=2.5, foreground="white")])
    for one in (ra, dec):
        one.set_major_formatter(_format(view))
    ra.set_axislabel("" if view.is_whole_sky else "Right ascension (deg)")
    if view.is_whole_sky:
        axes.text(0.5, -0.06, "Right ascension (deg)", transform=axes.transAxes, horizontalalignment="center")
    dec.set_axislabel("Declination (deg)")
    bar = figure.colorbar(shown, ax=axes, shrink=0.85 if not view.is_whole_sky else 0.7, pad=0.04)
    bar.set_label(label)


def _format(view: SkyView) -> str:
    """Degrees, with the decimals that ticks of the view need."""
    decimals = max(0, math.ceil(-math.log10(view.half_width_deg / 1.5)))
    return "d" if decimals == 0 else f"d.{'d' * decimals}"
