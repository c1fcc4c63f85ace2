"""Pictures of the selected rows of a table: magnitudes, positions, colours, offsets of their matches."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xmatch_hats.healpix import cells_of
from xmatch_hats.images.moments import Moments
from xmatch_hats.images.quantities import EAST, NORTH, Quantities, Selected
from xmatch_hats.plots.pairs import decorate_offsets, show_counts
from xmatch_hats.plots.sky import (
    add_map,
    choose_view,
    colour_bar,
    map_size,
    order_of_counts,
    paint_cells,
    to_plane,
    view_of_counts,
)
from xmatch_hats.plots.style import BLUE, DENSITIES, FILES, ORANGE, entitle, plain
from xmatch_hats.plots.tallies import CellCounts, Cloud, Histogram

__all__ = ["Pictures"]

Floats = NDArray[np.float64]

POINTS = 20_000
"""Rows up to which each is drawn; of more, how many there are in a bin."""
BINS = 100
DPI = 120


class Pictures:
    """Counts what the pictures of one table are drawn of.

    Parameters
    ----------
    quantities : Quantities
    moments : dict of str to Moments
        Of each quantity, from a first pass.
    rows : int
        That are selected.
    title : str
        Of all pictures.
    """

    def __init__(self, quantities: Quantities, moments: dict[str, Moments], rows: int, title: str) -> None:
        self._of, self._moments, self._title = quantities, moments, title
        self._magnitudes: dict[str, Histogram] = {}
        if quantities.magnitude is not None:
            bins = int(np.clip(2 * np.sqrt(moments[quantities.magnitude].number), 10, 60))
            span = moments[quantities.magnitude].span
            self._magnitudes = {name: Histogram(*span, bins) for name in ("selected", "matched")}
        self._sky = _Plane((0.0, 1.0), (0.0, 1.0), rows <= POINTS)
        self._cells = CellCounts(1)
        self._diagram = self._plane(quantities.colour_name, quantities.magnitude, rows)
        self._offsets: _Plane | None = None
        if EAST in moments and moments[EAST].number:
            # Not the extremes alone: the origin is in the middle.
            self._reach = max(abs(value) for name in (EAST, NORTH) for value in (moments[name].low, moments[name].high))
            self._reach = self._reach or 0.1
            self._offsets = _Plane((-self._reach, self._reach), (-self._reach, self._reach), rows <= POINTS)

    def add(self, selected: Selected) -> None:
        """Count some rows."""
        values = selected.values
        if self._magnitudes:
            magnitudes = values[str(self._of.magnitude)]
            self._magnitudes["selected"].add(magnitudes)
            self._magnitudes["matched"].add(magnitudes[selected.is_matched])
        if selected.position is not None:
            ra, dec = selected.position
            good = np.isfinite(ra) & (np.abs(dec) <= 90.0)
            if self._sky.has_points:
                self._sky.add(ra[good], dec[good])
            else:
                self._cells.add(cells_of(ra[good], dec[good]), np.zeros(int(good.sum()), np.int64))
        if self._diagram is not None:
            self._diagram.add(values[self._of.colour_name], values[str(self._of.magnitude)])
        if self._offsets is not None:
            self._offsets.add(values[EAST], values[NORTH])

    def draw(self) -> Iterator[tuple[str, bytes]]:
        """Draw all pictures that there is something to see on: names, and PNGs."""
        with style.context(FILES):
            if self._magnitudes and self._magnitudes["selected"].total:
                yield "magnitudes", self._magnitude_figure()
            if self._sky.total or self._cells.settled().at(0)[1].sum():
                yield "map", self._map_figure()
            if self._diagram is not None and self._diagram.total:
                yield "colours", self._colour_figure(self._diagram)
            if self._offsets is not None and self._offsets.total:
                yield "offsets", self._offset_figure(self._offsets)

    def _plane(self, x: str, y: str | None, rows: int) -> _Plane | None:
        if y is None or x not in self._moments or not self._moments[x].number:
            return None
        return _Plane(self._moments[x].span, self._moments[y].span, rows <= POINTS)

    def _magnitude_figure(self) -> bytes:
        figure, axes = _figure()
        strokes = {"selected": (BLUE, "-"), "matched": (ORANGE, "--")}
        for name, histogram in self._magnitudes.items():
            if not histogram.total:
                continue
            colour, stroke = strokes[name]
            label = f"{name}: {histogram.total:,}"
            axes.stairs(histogram.counts, histogram.edges, color=colour, linestyle=stroke, linewidth=1.5, label=label)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel(self._label(str(self._of.magnitude)))
        edges = self._magnitudes["selected"].edges
        axes.set_ylabel(f"Rows per {edges[1] - edges[0]:.2g}")
        axes.legend()
        return self._png(figure, axes)

    def _map_figure(self) -> bytes:
        if self._sky.has_points:
            ra, dec = self._sky.points()
            view = choose_view(ra, dec, 0.001)
            figure = Figure(figsize=map_size(view), layout="constrained")
            axes = add_map(figure, view)
            axes.scatter(*to_plane(axes, ra, dec), s=4, color=BLUE, alpha=0.6, linewidths=0.0)
        else:
            view = view_of_counts(self._cells)
            figure = Figure(figsize=map_size(view), layout="constrained")
            axes = add_map(figure, view)
            order = order_of_counts(self._cells, view)
            cells, counts = self._cells.at(order)
            shown = paint_cells(axes, cells, order, counts[0].astype(np.float64), cmap=DENSITIES, vmin=0.0)
            colour_bar(axes, shown, "rows per cell")
        return self._png(figure, axes)

    def _colour_figure(self, diagram: _Plane) -> bytes:
        figure, axes = _figure()
        diagram.draw(axes)
        axes.set_xlabel(self._label(self._of.colour_name))
        axes.set_ylabel(self._label(str(self._of.magnitude)))
        # Bright ones are on top.
        axes.set_ylim(*reversed(diagram.y))
        axes.set_xlim(*diagram.x)
        return self._png(figure, axes)

    def _offset_figure(self, offsets: _Plane) -> bytes:
        figure, axes = _figure(6.2, 5.2)
        offsets.draw(axes)
        decorate_offsets(axes, (self._moments[EAST].mean, self._moments[NORTH].mean), self._reach * 1.03, "mean")
        return self._png(figure, axes)

    def _label(self, name: str) -> str:
        unit = self._of.units.get(name, "")
        return plain(f"{name} ({unit})" if unit else name)

    def _png(self, figure: Figure, axes: Axes) -> bytes:
        entitle(axes, self._title)
        target = BytesIO()
        # Without the version of the library: the same table gives the same bytes.
        figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None})
        return target.getvalue()


class _Plane:
    """Points in a plane, or how many there are in its bins."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], has_points: bool) -> None:
        self.x, self.y, self.has_points = x, y, has_points
        self._points: list[tuple[Floats, Floats]] = []
        self._cloud = Cloud(x, y, BINS)

    @property
    def total(self) -> int:
        """Points, as far as they are counted."""
        return sum(len(x) for x, _ in self._points) if self.has_points else self._cloud.total

    def add(self, x: Floats, y: Floats) -> None:
        """Add points."""
        if not self.has_points:
            self._cloud.add(x, y)
            return
        good = np.isfinite(x) & np.isfinite(y)
        self._points.append((x[good], y[good]))

    def points(self) -> tuple[Floats, Floats]:
        """Their coordinates."""
        x, y = zip(*self._points, strict=True)
        return np.concatenate(x), np.concatenate(y)

    def draw(self, axes: Axes) -> None:
        """Draw them."""
        if self.has_points:
            axes.scatter(*self.points(), s=6, color=BLUE, alpha=0.6, linewidths=0.0)
        else:
            show_counts(axes, self._cloud.counts, self.x, self.y)


def _figure(width: float = 6.8, height: float = 4.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def __dir__() -> list[str]:
    return sorted(__all__)
