"""Our engine, as a program would use it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.answers import Answer
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher


def matcher(
    copy: LocalCopy | Path, columns: Sequence[str], radius_arcsec: float = 1.0, **settings: Any
) -> Crossmatcher:
    """An engine of one catalogue, with its default engine unless told otherwise."""
    return Crossmatcher([CatalogTarget(copy, "sky", radius_arcsec, columns)], **settings)


def batch_answer(results: dict[str, Any]) -> Answer:
    """Bring a batch's answer into comparable form."""
    (result,) = results.values()
    return Answer.of(result.left, result.distance_arcsec)
