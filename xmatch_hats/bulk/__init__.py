"""Whole catalogues and whole nights at once: work of hours, cut into tasks, that survives whatever stops it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmatch_hats.bulk.alerts.archives import open_archives
    from xmatch_hats.bulk.alerts.merge import merge_nights
    from xmatch_hats.bulk.alerts.run import AlertsSettings, crossmatch_alerts
    from xmatch_hats.bulk.catalogs.job import Joined
    from xmatch_hats.bulk.catalogs.run import crossmatch_catalogs
    from xmatch_hats.bulk.report.run import make_report

__all__ = [
    "AlertsSettings",
    "Joined",
    "crossmatch_alerts",
    "crossmatch_catalogs",
    "make_report",
    "merge_nights",
    "open_archives",
]

_PLACES = {
    "AlertsSettings": "xmatch_hats.bulk.alerts.run",
    "crossmatch_alerts": "xmatch_hats.bulk.alerts.run",
    "merge_nights": "xmatch_hats.bulk.alerts.merge",
    "open_archives": "xmatch_hats.bulk.alerts.archives",
    "Joined": "xmatch_hats.bulk.catalogs.job",
    "crossmatch_catalogs": "xmatch_hats.bulk.catalogs.run",
    "make_report": "xmatch_hats.bulk.report.run",
}
"""Modules of what is exported; imported when it is asked for, as they are heavy."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
