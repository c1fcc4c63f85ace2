"""The pictures of a report, each with the words that say what it shows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xmatch_hats.bulk.report.density import Density, expected_pairs, searched
from xmatch_hats.bulk.report.scan import MatchTally
from xmatch_hats.bulk.report.sky_map import SkyView, choose_view, draw_map, raster
from xmatch_hats.bulk.report.tallies import Cloud, Histogram
from xmatch_hats.matching.status import MatchStatus

BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442"
"""Colours that are told apart with any kind of colour vision (Okabe and Ito 2008)."""
_LINES = (BLUE, ORANGE, GREEN, PINK, SKY, "#000000")
_STROKES = ("-", "--", "-.", ":", "-", "--")
DENSITIES, FRACTIONS = "viridis", "cividis"
DPI = 120
_STYLE = {
    "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10, "legend.frameon": False, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "report",
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One PNG."""

    name: str
    """Of its file, without a suffix."""
    title: str
    caption: str
    """What it shows, and where its numbers come from."""
    data: bytes


def draw_pictures(tally: MatchTally, density: Density | None, why_none: str) -> Iterator[Picture]:
    """Draw all pictures of the match with one catalogue that its counts allow.

    Parameters
    ----------
    tally : MatchTally
    density : Density or None
        Of the catalogue.
    why_none : str
        Why there is none, for people.
    """
    # Whatever the user has set up for other pictures.
    with style.context(["default", _STYLE]):
        if tally.sky.settled().at(0)[1].sum():
            yield from _maps(tally)
        if tally.separation.total:
            yield _separations(tally, density, why_none)
        if tally.offsets is not None and tally.offsets.total:
            yield _offsets(tally, tally.offsets)
        if any(histogram.total for histogram in tally.magnitudes.values()):
            yield _magnitudes(tally)
        if tally.diagram is not None and tally.colour is not None and tally.diagram.total:
            yield _colours(tally, tally.diagram, tally.colour)


def _picture(tally: MatchTally, kind: str, title: str, caption: str, figure: Figure) -> Picture:
    target = BytesIO()
    # Without the version of the library: the same counts give the same bytes.
    figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None})
    name = re.sub(r"[^\w.+-]", "_", f"{kind}_{tally.target.name}")
    return Picture(name, title, caption, target.getvalue())


def _maps(tally: MatchTally) -> Iterator[Picture]:
    view = choose_view(tally.sky)
    cells, counts = tally.sky.at(view.order)
    matched, tried = counts[MatchStatus.MATCHED], searched(counts)
    area = 4 * np.pi * np.degrees(1) ** 2 / (12 * 4**view.order)
    name = tally.target.name
    where = (
        "the whole sky in Mollweide's projection"
        if view.is_whole_sky
        else f"the region about RA {view.ra:.2f}, Dec {view.dec:+.2f} deg, in an equal-area projection"
    )
    cell = f"HEALPix cells of order {view.order} ({area:.3g} square degrees)"
    about = f"{cell} of {where}; right ascension grows leftward."
    title = f"Matches with {name}"
    figure = _map_figure(view)
    shown = np.where(matched > 0, matched, np.nan).astype(np.float64)
    top = max(1.0, float(np.percentile(matched[matched > 0], 99))) if matched.any() else 1.0
    draw_map(
        figure, view, raster(view, cells, shown), title=_plain(title), label="matches per cell", colours=DENSITIES,
        limits=(0.0, top),
    )  # fmt: skip
    yield _picture(tally, "sky_matches", title, f"Matched inputs in {about}", figure)
    if not tried.any():
        return
    fraction = np.divide(matched, tried, out=np.full(len(tried), np.nan), where=tried > 0)
    low, high = (float(np.percentile(fraction[tried > 0], share)) for share in (1, 99))
    if high - low < 0.02:
        low, high = max(0.0, low - 0.01), min(1.0, high + 0.01)
    title = f"Fraction of inputs with a match in {name}"
    figure = _map_figure(view)
    draw_map(
        figure, view, raster(view, cells, fraction), title=_plain(title), label="matched / (matched + unmatched)",
        colours=FRACTIONS, limits=(low, high),
    )  # fmt: skip
    caption = f"Of inputs where {name} is complete, those that have a match, in {about} Empty: no such inputs."
    yield _picture(tally, "sky_fraction", title, caption, figure)


def _map_figure(view: SkyView) -> Figure:
    return Figure(figsize=(9.5, 4.6) if view.is_whole_sky else (6.6, 5.4), layout="constrained")


def _separations(tally: MatchTally, density: Density | None, why_none: str) -> Picture:
    edges, counts = tally.separation.rebinned(_factor(tally.separation))
    name = tally.target.name
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    median = tally.separation.median()
    caption = f"Pairs by separation, in bins of {edges[1]:.3g} arcsec."
    expected = None
    if density is None:
        caption += f" What is expected by chance is not shown: {why_none}."
    else:
        expected = expected_pairs(density, tally.sky, edges, tally.target.n_neighbors)
        caption += _chance_words(tally, density)
    # Logarithmic, or what is expected by chance could not be told from nothing.
    floor = 0.5 if expected is None else min(0.5, max(float(expected.max()) / 20, 1e-6))
    axes.stairs(counts, edges, color=BLUE, fill=True, alpha=0.35, baseline=floor)
    axes.stairs(counts, edges, color=BLUE, baseline=floor, label=f"found: {tally.separation.total:,}")
    axes.axvline(median or 0.0, color="#404040", linestyle=":", label=f"median {median:.3f} arcsec")
    if expected is not None:
        centres = (edges[1:] + edges[:-1]) / 2
        axes.plot(centres, expected, color=ORANGE, linestyle="--", label=f"expected by chance: {_few(expected.sum())}")
    axes.set_yscale("log")
    axes.set_ylim(bottom=floor)
    axes.set_xlim(0.0, edges[-1])
    axes.set_xlabel("Separation (arcsec)")
    axes.set_ylabel(f"Pairs per {edges[1]:.3g} arcsec")
    title = f"Separation of matches with {name}"
    axes.set_title(_plain(title))
    axes.legend()
    return _picture(tally, "separation", title, caption, figure)


def _plain(text: str) -> str:
    """Text that the drawing library does not take for a formula."""
    return text.replace("$", r"\$")


def _few(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _chance_words(tally: MatchTally, density: Density) -> str:
    text = (
        " Expected by chance: for each input 2πnr dr pairs at separation r, if rows of the catalogue lay at random "
        "with its local density n around the input"
    )
    if tally.target.n_neighbors is not None:
        nearest = "nearest" if tally.target.n_neighbors == 1 else f"{tally.target.n_neighbors} nearest"
        text += f", less those that are not among the {nearest}. An input that has a true counterpart finds few others"
    # The density around inputs, of which there are few where the catalogue has few rows.
    order = min(density.order, tally.sky.settled().order)
    cells, counts = tally.sky.at(order)
    rho = density.coarser(order).per_square_arcsec[cells] * 3600.0**2
    mean = float(np.average(rho, weights=np.maximum(searched(counts), 1e-9)))
    return f"{text}. The density: {density.source}; on average {mean:,.0f} per square degree around the inputs."


def _factor(histogram: Histogram) -> int:
    """Fine bins to one that is drawn: fewer and wider ones where there is little to count."""
    bins = 60 if histogram.total >= 2_000 else 30 if histogram.total >= 200 else 15
    return len(histogram.counts) // bins


def _offsets(tally: MatchTally, offsets: Cloud) -> Picture:
    figure = Figure(figsize=(6.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    counts, reach = _inner(offsets)
    _show_cloud(figure, axes, counts, (-reach, reach), (-reach, reach))
    dra, ddec = offsets.x.median() or 0.0, offsets.y.median() or 0.0
    axes.axhline(0.0, color="#404040", linewidth=0.6)
    axes.axvline(0.0, color="#404040", linewidth=0.6)
    axes.plot([dra], [ddec], marker="+", markersize=14, markeredgewidth=2, color=ORANGE, linestyle="none",
              label=f"median {dra:+.3f}, {ddec:+.3f} arcsec")  # fmt: skip
    # East is on the left, as on the sky.
    axes.invert_xaxis()
    axes.set_aspect("equal")
    axes.set_xlabel("ΔRA cos(Dec) (arcsec)")
    axes.set_ylabel("ΔDec (arcsec)")
    title = f"Offsets of matches with {tally.target.name}"
    axes.set_title(_plain(title))
    axes.legend(loc="upper right")
    caption = (
        f"Position in {tally.target.name} less that of the input, of {offsets.total:,} pairs; the cross marks the "
        f"medians: ΔRA cos(Dec) {dra:+.4f} arcsec, ΔDec {ddec:+.4f} arcsec."
    )
    if beyond := offsets.total - int(counts.sum()):
        caption += f" {beyond:,} pairs lie beyond what is shown."
    return _picture(tally, "offsets", title, caption, figure)


def _inner(cloud: Cloud) -> tuple[NDArray[np.int64], float]:
    """The middle of a square cloud with nearly all of its points, in at most 100 bins a side, and half of its width."""
    half = len(cloud.counts) // 2
    away = np.abs(np.arange(2 * half) + 0.5 - half).astype(np.int64)
    rings = np.bincount(np.maximum.outer(away, away).ravel(), weights=cloud.counts.ravel(), minlength=half)
    enough = int(np.searchsorted(np.cumsum(rings), 0.98 * cloud.total)) + 1
    factor = max(1, math.ceil(min(half, 1.6 * enough) / 50))
    shown = min(half // factor, max(10, math.ceil(1.6 * enough / factor))) * factor
    middle = cloud.counts[half - shown : half + shown, half - shown : half + shown]
    bins = 2 * shown // factor
    reach = float(cloud.x.edges[-1]) * shown / half
    return middle.reshape(bins, factor, bins, factor).sum(axis=(1, 3)), reach


def _show_cloud(
    figure: Figure, axes: Axes, counts: NDArray[np.int64], x: tuple[float, float], y: tuple[float, float]
) -> None:
    """Draw counts in a plane, on a logarithmic scale of colours; empty bins stay white."""
    image = np.where(counts > 0, counts, np.nan).T.astype(np.float64)
    top = float(counts.max())
    shown = axes.imshow(
        image, origin="lower", extent=(*x, *y), aspect="auto", interpolation="nearest", cmap=DENSITIES,
        norm="log" if top > 20 else "linear", vmin=1.0, vmax=max(top, 2.0),
    )  # fmt: skip
    figure.colorbar(shown, ax=axes, shrink=0.9).set_label("pairs per bin")


def _magnitudes(tally: MatchTally) -> Picture:
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    ends = []
    drawn = [(name, histogram) for name, histogram in tally.magnitudes.items() if histogram.total]
    for (name, histogram), colour, stroke in zip(drawn, _LINES, _STROKES, strict=False):
        edges, counts = histogram.rebinned(5)
        axes.stairs(
            counts, edges, color=colour, linestyle=stroke, linewidth=1.5, label=_plain(f"{name}: {histogram.total:,}")
        )
        ends += [*_span(edges, counts)]
    axes.set_xlim(min(ends), max(ends))
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("Magnitude (mag)")
    axes.set_ylabel("Pairs per 0.25 mag")
    title = f"Magnitudes of matches with {tally.target.name}"
    axes.set_title(_plain(title))
    axes.legend()
    beyond = sum(histogram.outside for _, histogram in drawn)
    caption = "Magnitudes of matches, by column"
    caption += f"; {beyond:,} values below -10 or above 40 mag are left out." if beyond else "."
    return _picture(tally, "magnitudes", title, caption, figure)


def _colours(tally: MatchTally, diagram: Cloud, colour: tuple[str, str]) -> Picture:
    figure = Figure(figsize=(6.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    factor = 2 if diagram.total >= 5_000 else 5
    bins = len(diagram.counts) // factor
    counts = diagram.counts.reshape(bins, factor, bins, factor).sum(axis=(1, 3))
    x_edges, y_edges = (one.edges[:: Cloud.FINER * factor] for one in (diagram.x, diagram.y))
    _show_cloud(figure, axes, counts, (x_edges[0], x_edges[-1]), (y_edges[0], y_edges[-1]))
    axes.set_xlim(*_span(x_edges, counts.sum(axis=1)))
    # Bright ones are on top.
    axes.set_ylim(*reversed(_span(y_edges, counts.sum(axis=0))))
    first, second = (_band(name) for name in colour)
    axes.set_xlabel(f"{first} - {second} (mag)")
    axes.set_ylabel(f"{first} (mag)")
    title = f"{first} - {second} and {first} of matches with {tally.target.name}"
    axes.set_title(_plain(title))
    caption = (
        f"{diagram.total:,} matches that are detected in both bands, Vega magnitudes; {tally.colour_limits:,} more "
        "have no value in one of them, or an upper limit of brightness."
    )
    return _picture(tally, "colours", title, caption, figure)


def _band(name: str) -> str:
    """What people call a magnitude of WISE."""
    return name[:2].upper()


def _span(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """From the first to the last bin with a count, and one beyond."""
    found = np.flatnonzero(counts)
    return float(edges[max(0, found[0] - 1)]), float(edges[min(len(edges) - 1, found[-1] + 2)])
