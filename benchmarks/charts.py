"""Charts of cost against each variable, drawn from the case ``curves``, where matplotlib is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.case import FOLDER

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
"""Told apart by colour-blind readers, too."""
LABELS = {
    "batch size": ("alerts in a batch", "One batch over 47 square degrees"),
    "radius": ("radius [arcsec]", "1,000 alerts, by radius"),
    "catalogue rows": ("rows of the catalogue", "1,000 alerts, by catalogue size"),
    "partitions": ("partitions of the catalogue", "1,000 alerts on the same rows, by layout"),
    "workers": ("workers", "10,000 alerts, by workers"),
    "table rows": ("rows of the right table; the left has a quarter", "Table to table: several methods"),
}


def draw(kept: Mapping[str, Any]) -> None:
    """Draw all curves of both sizes anew."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("charts are not drawn: matplotlib is not installed", flush=True)
        return
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "xmatch-hats", "svg.fonttype": "none"}
    folder = FOLDER / "charts"
    folder.mkdir(exist_ok=True)
    for size in ("tenth", "full"):
        curves = kept.get(size, {}).get("curves", {}).get("ways", {})
        for name, curve in curves.items():
            _draw_one(name, curve, folder / f"{name.replace(' ', '-')}.{size}.svg")


def _draw_one(name: str, curve: Mapping[str, Any], path: Path) -> None:
    from matplotlib import pyplot as plt

    axis_label, title = LABELS[name]
    figure, axes = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for colour, (method, points) in zip(COLOURS, curve.items(), strict=False):
        abscissae, seconds = zip(*sorted(points), strict=True)
        axes.plot(abscissae, seconds, marker="o", markersize=4, color=colour, label=method)
    axes.set_yscale("log")
    if name == "workers":
        axes.set_xticks([1, 2])
    else:
        axes.set_xscale("log")
    axes.set(xlabel=axis_label, ylabel="seconds (median)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
