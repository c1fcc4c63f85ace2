"""A local crossmatch engine for alert streams and surveys, on HATS, LSDB and Dask.

The names below are imported when they are first used, so that ``import xmatch_hats`` and the command line stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from xmatch_hats import plots
    from xmatch_hats.catalogs.copy import open_catalog, open_copy
    from xmatch_hats.errors import XmatchError
    from xmatch_hats.matching.api import crossmatch
    from xmatch_hats.matching.crossmatcher import Crossmatcher
    from xmatch_hats.matching.healpix_join import HealpixJoin
    from xmatch_hats.matching.targets import CatalogTarget

_HOMES = {
    "CatalogTarget": "xmatch_hats.matching.targets",
    "Crossmatcher": "xmatch_hats.matching.crossmatcher",
    "HealpixJoin": "xmatch_hats.matching.healpix_join",
    "XmatchError": "xmatch_hats.errors",
    "crossmatch": "xmatch_hats.matching.api",
    "open_catalog": "xmatch_hats.catalogs.copy",
    "open_copy": "xmatch_hats.catalogs.copy",
}

__all__ = [
    "CatalogTarget",
    "Crossmatcher",
    "HealpixJoin",
    "XmatchError",
    "__version__",
    "crossmatch",
    "open_catalog",
    "open_copy",
    "plots",
]


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module("xmatch_hats.plots")
    if name not in _HOMES:
        raise AttributeError(f"module 'xmatch_hats' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
