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

from xmatch_hats.bulk.report.scan import MatchTally
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.plots.chance import SQUARE_DEG, Density, expected_pairs, searched
from xmatch_hats.plots.maps import fraction_map
from xmatch_hats.plots.pairs import decorate_offsets, draw_separations, show_counts
from xmatch_hats.plots.sky import SkyView, add_map, colour_bar, map_size, order_of_counts, paint_cells, view_of_counts
from xmatch_hats.plots.style import BLUE, DENSITIES, FILES, GREEN, ORANGE, PINK, SKY, entitle, plain
from xmatch_hats.plots.tallies import Cloud, Histogram

_LINES = (BLUE, ORANGE, GREEN, PINK, SKY, "#000000")
_STROKES = ("-", "--", "-.", ":", "-", "--")
DPI = 120


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
    with style.context(FILES):
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
    view = view_of_counts(tally.sky)
    order = order_of_counts(tally.sky, view)
    cells, counts = tally.sky.at(order)
    matched = counts[MatchStatus.MATCHED]
    name = tally.target.name
    where = (
        "the whole sky in Mollweide's projection"
        if view.is_whole_sky
        else f"the region about RA {view.ra:.2f}, Dec {view.dec:+.2f} deg, in an equal-area projection"
    )
    area = SQUARE_DEG / (12 * 4**order)
    cell = f"HEALPix cells of order {order} ({area:.3g} square degrees)"
    about = f"{cell} of {where}; right ascension grows leftward."
    title = f"Matches with {name}"
    figure, axes = _map(view)
    shown = np.where(matched > 0, matched, np.nan).astype(np.float64)
    top = max(1.0, float(np.percentile(matched[matched > 0], 99))) if matched.any() else 1.0
    colour_bar(axes, paint_cells(axes, cells, order, shown, cmap=DENSITIES, vmin=0.0, vmax=top), "matches per cell")
    entitle(axes, title)
    yield _picture(tally, "sky_matches", title, f"Matched inputs in {about}", figure)
    if not searched(counts).any():
        return
    figure, axes = _map(view)
    fraction_map(tally.sky, name, axes)
    title = f"Fraction of inputs with a match in {name}"
    caption = f"Of inputs where {name} is complete, those that have a match, in {about} Empty: no such inputs."
    yield _picture(tally, "sky_fraction", title, caption, figure)


def _map(view: SkyView) -> tuple[Figure, Axes]:
    figure = Figure(figsize=map_size(view), layout="constrained")
    return figure, add_map(figure, view)


def _separations(tally: MatchTally, density: Density | None, why_none: str) -> Picture:
    edges, counts = tally.separation.rebinned(_factor(tally.separation))
    name = tally.target.name
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    caption = f"Pairs by separation, in bins of {edges[1]:.3g} arcsec."
    expected = None
    if density is None:
        caption += f" What is expected by chance is not shown: {why_none}."
    else:
        expected = expected_pairs(density, tally.sky, edges, tally.target.n_neighbors)
        caption += _chance_words(tally, density)
    draw_separations(axes, edges, counts, expected, tally.separation.median())
    title = f"Separation of matches with {name}"
    entitle(axes, title)
    return _picture(tally, "separation", title, caption, figure)


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
    show_counts(axes, counts, (-reach, reach), (-reach, reach))
    dra, ddec = offsets.x.median() or 0.0, offsets.y.median() or 0.0
    decorate_offsets(axes, (dra, ddec), reach)
    title = f"Offsets of matches with {tally.target.name}"
    entitle(axes, title)
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


def _magnitudes(tally: MatchTally) -> Picture:
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    ends = []
    drawn = [(name, histogram) for name, histogram in tally.magnitudes.items() if histogram.total]
    for (name, histogram), colour, stroke in zip(drawn, _LINES, _STROKES, strict=False):
        edges, counts = histogram.rebinned(5)
        axes.stairs(
            counts, edges, color=colour, linestyle=stroke, linewidth=1.5, label=plain(f"{name}: {histogram.total:,}")
        )
        ends += [*_span(edges, counts)]
    axes.set_xlim(min(ends), max(ends))
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("Magnitude (mag)")
    axes.set_ylabel("Pairs per 0.25 mag")
    title = f"Magnitudes of matches with {tally.target.name}"
    entitle(axes, title)
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
    show_counts(axes, counts, (x_edges[0], x_edges[-1]), (y_edges[0], y_edges[-1]))
    axes.set_xlim(*_span(x_edges, counts.sum(axis=1)))
    # Bright ones are on top.
    axes.set_ylim(*reversed(_span(y_edges, counts.sum(axis=0))))
    first, second = (_band(name) for name in colour)
    axes.set_xlabel(f"{first} - {second} (mag)")
    axes.set_ylabel(f"{first} (mag)")
    title = f"{first} - {second} and {first} of matches with {tally.target.name}"
    entitle(axes, title)
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
