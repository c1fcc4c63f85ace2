"""How far matches lie from what they were matched with, and in which direction."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from astropy import units as u
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Circle
from numpy.typing import NDArray

from xmatch_hats.display import counted
from xmatch_hats.errors import RadiusError, TableError, UsageError
from xmatch_hats.matching.forms import is_lsdb, is_table
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.plots.chance import expected_pairs
from xmatch_hats.plots.results import Floats, Matches, arcsec, matches_of, sky_of
from xmatch_hats.plots.style import BLUE, DENSITIES, GREY, ORANGE, entitle, few, plain_axes
from xmatch_hats.plots.subjects import density_of, opened
from xmatch_hats.plots.tallies import CellCounts
from xmatch_hats.sphere import offsets_arcsec

_POINTS = 2_000
"""Up to which a cloud is drawn point by point."""


def separations(
    result: Any, radius: u.Quantity | float | None = None, density: Any = None, *, searched: int | None = None,
    n_neighbors: int | Literal["as matched"] | None = "as matched", bins: int | None = None,
    catalog: str | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw how many pairs there are by separation, and how many are expected by chance.

    Unrelated rows of a catalogue lie at random around what is matched: with ``rho`` of them in a unit of solid angle,
    ``2 pi rho r dr`` pairs for each input at separations between r and r + dr, if all pairs are counted. The nearest
    is the one at r only if none lies nearer, which has the probability ``exp(-pi rho r**2)``, so of nearest matches
    ``2 pi rho r exp(-pi rho r**2) dr`` are expected (Downes et al. 1986, MNRAS 218, 31); likewise for the k nearest.
    Inputs that have a true counterpart find fewer by chance beyond it, so the curve is an upper limit for nearest
    matches. Where the histogram comes down to the curve, a larger radius adds chance matches only.

    Parameters
    ----------
    result : table, lsdb.Catalog, MatchResult, or array or Quantity of separations
        As `xmatch_hats.crossmatch` gives it with ``how="left"``; plain separations are in arcseconds.
    radius : Quantity or float, optional
        Up to which to count; a number is arcseconds. By default the largest separation.
    density : float, Quantity, str, Path, LocalCopy or lsdb.Catalog, optional
        Of the catalogue that was matched with, for the curve. A number is rows per square degree, and a name, folder or
        catalogue has its local density counted around each input.
    searched : int, optional
        Number of inputs that were searched. By default those of the result that are matched or unmatched, which are too
        few if those without a match have been left out: of a result of matched inputs alone the legend says so.
    n_neighbors : int or None, optional
        How many of the nearest were asked for, None for all. By default what the result tells: 1 without a rank, else
        all.
    bins : int, optional
    catalog : str, optional
        Which one, if the table tells of several.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    RadiusError
        A radius that is no angle above 0.
    UsageError, TableError
        The result tells of no match, or what the curve needs is not known.
    """
    axes = plain_axes(ax, 6.8, 4.4)
    matches = _matches(result, catalog)
    apart = matches.distance_arcsec[np.isfinite(matches.distance_arcsec)]
    reach = _reach(radius, apart)
    apart = apart[apart <= reach]
    edges = np.linspace(0.0, reach, (bins or _bins(len(apart))) + 1)
    expected = None
    if density is not None:
        asked = matches.n_neighbors if n_neighbors == "as matched" else n_neighbors
        expected = _expected(matches, opened(density), edges, searched, asked)
    median = float(np.median(apart)) if len(apart) else None
    known = searched is not None or bool((matches.status != MatchStatus.MATCHED).any())
    # Each input that found nothing, and was left out of the result, would raise the curve.
    whose = "" if known else f",\nof {counted(matches.searched, 'matched input')} alone"
    draw_separations(axes, edges, np.histogram(apart, edges)[0], expected, median, whose)
    entitle(axes, f"Separation of matches{_with(matches.name)}")
    return axes


def draw_separations(
    axes: Axes,
    edges: Floats,
    counts: NDArray[np.int64],
    expected: Floats | None,
    median: float | None,
    whose: str = "",
) -> None:
    """Draw counts of separations, arcseconds, and how many are expected by chance.

    Parameters
    ----------
    axes : Axes
    edges : ndarray of float64, shape (n + 1,)
        Of bins of one width.
    counts : ndarray of int64, shape (n,)
    expected : ndarray of float64, shape (n,), or None
    median : float or None
        Of the separations.
    whose : str, optional
        Told behind what is expected by chance: of which inputs.
    """
    # Logarithmic, or what is expected by chance could not be told from nothing.
    top = 0.0 if expected is None else float(expected.max())
    floor = min(0.5, max(top / 20, 1e-6)) if top else 0.5
    axes.stairs(counts, edges, color=BLUE, fill=True, alpha=0.35, baseline=floor)
    axes.stairs(counts, edges, color=BLUE, baseline=floor, label=f"found: {int(counts.sum()):,}")
    if median is not None:
        axes.axvline(median, color=GREY, linestyle=":", label=f"median {median:.3f} arcsec")
    if expected is not None:
        centres = (edges[1:] + edges[:-1]) / 2
        label = f"expected by chance: {few(expected.sum())}{whose}"
        axes.plot(centres, expected, color=ORANGE, linestyle="--", label=label)
    axes.set_yscale("log")
    axes.set_ylim(floor, max(10.0, 2.0 * float(counts.max(initial=0)), 2.0 * top))
    axes.set_xlim(0.0, edges[-1])
    axes.set_xlabel("Separation (arcsec)")
    axes.set_ylabel(f"Pairs per {edges[1]:.3g} arcsec")
    # Over the median, which runs from top to bottom and leaves no place free of it.
    axes.legend(frameon=True, framealpha=0.85, edgecolor="none")


def _matches(result: Any, catalog: str | None) -> Matches:
    if isinstance(result, MatchResult) or is_table(result) or is_lsdb(result):
        return matches_of(result, catalog=catalog)
    distance = np.atleast_1d(arcsec(np.ma.filled(result, np.nan) if np.ma.isMA(result) else result, "separations"))
    known = np.where(np.isfinite(distance), MatchStatus.MATCHED, -1).astype(np.int64)
    return Matches(catalog or "", distance.ravel(), known.ravel(), np.ones(distance.size, bool), 1)


def _reach(radius: u.Quantity | float | None, apart: Floats) -> float:
    if radius is None:
        return float(apart.max(initial=0.0)) or 1.0
    reach = arcsec(radius, "a radius")
    if reach.ndim or not (np.isfinite(reach) and reach > 0.0):
        raise RadiusError(f"a radius must be one angle above 0, not {radius!r}", value=radius)
    return float(reach)


def _bins(number: int) -> int:
    """Fewer and wider ones where there is little to count."""
    return 60 if number >= 2_000 else 30 if number >= 200 else 15


def _expected(matches: Matches, catalog: Any, edges: Floats, searched: int | None, n_neighbors: int | None) -> Floats:
    density = density_of(catalog)
    inputs = matches.searched if searched is None else searched
    if not (matches.status == MatchStatus.UNMATCHED).any() and matches.position is None and searched is None:
        raise UsageError(
            "how many inputs were searched is not known, without which nothing is expected by chance",
            hint="give searched=, or the whole result of a match with how='left'",
        )
    if matches.position is not None:
        sky = sky_of(matches)
    elif density.order == 0 and np.ptp(density.per_square_arcsec) == 0.0:
        # One density everywhere: any place will do.
        sky = CellCounts(len(MatchStatus), order=0)
        sky.add_counts(np.zeros(1, np.int64), MatchStatus.UNMATCHED, np.array([inputs]), 0)
    else:
        raise TableError(
            "a local density needs the positions of the inputs",
            hint="keep their coordinates among the columns of the result, or give rows per square degree",
        )
    pairs = expected_pairs(density, sky, edges, n_neighbors)
    return pairs * (inputs / max(1, matches.searched)) if matches.position is not None else pairs


def offsets(
    result: Any, radius: u.Quantity | float | None = None, *, left: tuple[str, str] | None = None,
    right: tuple[str, str] | None = None, positions: Any = None, catalog: str | None = None, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw in which direction matches lie: position in the catalogue less that of the input, east on the left.

    Parameters
    ----------
    result : table, lsdb.Catalog or MatchResult
        As `xmatch_hats.crossmatch` gives it, with the coordinates of both.
    radius : Quantity or float, optional
        Up to which to show, with a circle to scale; a number is arcseconds. By default all is shown.
    left, right : (str, str), optional
        Columns with right ascension and declination of the inputs, and of the catalogue's rows; by default found by
        name.
    positions : SkyCoord, table or pair of arrays in degrees, optional
        What was matched, of a `MatchResult`, which does not hold it.
    catalog : str, optional
        Which one, if the table tells of several.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    RadiusError
        A radius that is no angle above 0.
    UsageError, TableError
        The result tells of no match, or lacks coordinates.
    """
    axes = plain_axes(ax, 6.2, 5.2)
    matches = matches_of(result, catalog=catalog, positions=positions, left=left, right=right)
    if matches.right is None:
        raise TableError(
            "which columns hold the position in the catalogue is not known",
            hint="ask crossmatch for them, or name them: right=('ra_allwise', 'dec_allwise')",
        )
    east, north = offsets_arcsec(*matches.right, *matches.require_positions())
    shown = np.isfinite(east) & np.isfinite(north) & np.isfinite(matches.distance_arcsec)
    east, north = east[shown], north[shown]
    reach = _reach(radius, np.maximum(np.abs(east), np.abs(north)))
    median = (float(np.median(east)), float(np.median(north))) if len(east) else None
    if len(east) > _POINTS:
        counts, *_ = np.histogram2d(east, north, 80, ((-reach, reach), (-reach, reach)))
        show_counts(axes, counts.astype(np.int64), (-reach, reach), (-reach, reach))
    else:
        axes.scatter(east, north, s=12, color=BLUE, alpha=0.6, linewidths=0.0)
    decorate_offsets(axes, median, reach * 1.03)
    if radius is not None:
        axes.add_patch(Circle((0.0, 0.0), reach, fill=False, color=GREY, linestyle="--"))
    entitle(axes, f"Offsets of matches{_with(matches.name)}")
    return axes


def decorate_offsets(axes: Axes, centre: tuple[float, float] | None, reach: float, called: str = "median") -> None:
    """Draw the origin, a centre of a kind, and what is written around a cloud of offsets."""
    axes.axhline(0.0, color=GREY, linewidth=0.6)
    axes.axvline(0.0, color=GREY, linewidth=0.6)
    if centre is not None:
        axes.plot(
            *([value] for value in centre), marker="+", markersize=14, markeredgewidth=2, color=ORANGE,
            linestyle="none", label=f"{called} {centre[0]:+.3f}, {centre[1]:+.3f} arcsec",
        )  # fmt: skip
        axes.legend(loc="upper right", frameon=True, framealpha=0.85, edgecolor="none")
    # East is on the left, as on the sky.
    axes.set(xlim=(reach, -reach), ylim=(-reach, reach))
    axes.set_aspect("equal")
    axes.set_xlabel("ΔRA cos(Dec) (arcsec)")
    axes.set_ylabel("ΔDec (arcsec)")


def show_counts(axes: Axes, counts: NDArray[np.int64], x: tuple[float, float], y: tuple[float, float]) -> AxesImage:
    """Draw counts in a plane, by x, then y, on a logarithmic scale of colours; empty bins stay white."""
    image = np.where(counts > 0, counts, np.nan).T.astype(np.float64)
    top = float(counts.max())
    shown = axes.imshow(
        image, origin="lower", extent=(*x, *y), aspect="auto", interpolation="nearest", cmap=DENSITIES,
        norm="log" if top > 20 else "linear", vmin=1.0, vmax=max(top, 2.0),
    )  # fmt: skip
    figure = axes.get_figure()
    if figure is not None:
        figure.colorbar(shown, ax=axes, shrink=0.9).set_label("pairs per bin")
    return shown


def _with(name: str) -> str:
    return f" with {name}" if name else ""
