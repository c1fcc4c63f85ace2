"""How pictures look: colours, new figures, text."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from xmatch_hats.errors import UsageError

BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442"
"""Colours that are told apart with any kind of colour vision (Okabe and Ito 2008)."""
GREY = "#404040"
DENSITIES, FRACTIONS = "viridis", "cividis"
"""Colour maps whose brightness grows all along."""
FILES: list[str | dict[str, Any]] = [
    "default",
    {
        "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10, "legend.frameon": False, "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "report",
    },
]  # fmt: skip
"""Style of pictures that a command writes into files, whatever the user has set up for others; the same every time."""


def plain_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Axes to draw on: those given, or those of a new figure of so many inches.

    Raises
    ------
    UsageError
        They are no axes, or those of a map or a space.
    """
    if ax is None:
        from matplotlib import pyplot

        axes = pyplot.figure(figsize=(width, height), layout="constrained").add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        return axes
    require_axes(ax)
    if ax.name != "rectilinear" or hasattr(ax, "coords"):
        raise UsageError(f"cannot be drawn on axes of the projection {ax.name!r}", hint="give plain axes", value=ax)
    return ax


def require_axes(ax: object) -> None:
    """Refuse what is no axes.

    Raises
    ------
    UsageError
    """
    if not isinstance(ax, Axes):
        raise UsageError(
            f"ax must be Matplotlib axes, not a {type(ax).__name__}",
            hint="give one of those that plt.subplots returns",
            value=ax,
        )


def entitle(axes: Axes, title: str, **text: Any) -> None:
    """Give axes a title, unless they have one: what is drawn over a picture does not rename it."""
    if not axes.get_title():
        axes.set_title(plain(title), **text)


def plain(text: str) -> str:
    """Text that Matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def few(number: float) -> str:
    """A number in about three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
