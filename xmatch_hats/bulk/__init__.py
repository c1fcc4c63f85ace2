"""Catalogue against catalogue: two HATS catalogues in, a third one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmatch_hats.bulk.run import Joined, crossmatch_catalogs

__all__ = ["Joined", "crossmatch_catalogs"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from xmatch_hats.bulk import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
