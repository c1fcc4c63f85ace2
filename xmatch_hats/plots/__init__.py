"""Pictures of catalogues and matches, drawn with Matplotlib (``pip install 'xmatch-hats[plots]'``).

Each function draws one picture and returns the axes that it drew on: those given as ``ax``, or those of a new figure.
Right ascension increases to the left, angles may be quantities or plain numbers, and colours can be told apart with any
kind of colour vision.

The names below are imported when they are first used: the counts that pictures are drawn of need no Matplotlib.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xmatch_hats.plots.extra import require_matplotlib

if TYPE_CHECKING:
    from xmatch_hats.plots.charts import finder
    from xmatch_hats.plots.footprints import cones, coverage, partitions
    from xmatch_hats.plots.maps import density, match_fraction
    from xmatch_hats.plots.pairs import offsets, separations

_HOMES = {
    "cones": "xmatch_hats.plots.footprints",
    "coverage": "xmatch_hats.plots.footprints",
    "density": "xmatch_hats.plots.maps",
    "finder": "xmatch_hats.plots.charts",
    "match_fraction": "xmatch_hats.plots.maps",
    "offsets": "xmatch_hats.plots.pairs",
    "partitions": "xmatch_hats.plots.footprints",
    "separations": "xmatch_hats.plots.pairs",
}
"""No module of this package has the name of a function, which it would hide."""

__all__ = ["cones", "coverage", "density", "finder", "match_fraction", "offsets", "partitions", "separations"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xmatch_hats.plots' has no attribute {name!r}")
    require_matplotlib()
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
