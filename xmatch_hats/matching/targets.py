"""What is matched against: copies of catalogues, each with a name, a radius and columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from xmatch_hats.catalogs.copy import LocalCopy, open_copy
from xmatch_hats.errors import UsageError
from xmatch_hats.matching.algorithm import check_margin
from xmatch_hats.matching.rule import MatchRule

__all__ = ["DEFAULT_RADIUS_ARCSEC", "CatalogTarget", "Target", "open_targets"]

DEFAULT_RADIUS_ARCSEC = 1.0
"""For copies without a definition."""


@dataclass(frozen=True)
class CatalogTarget:
    """One catalogue to match against, as somebody asks for it."""

    copy: LocalCopy | Path | str
    """A copy, its folder, or its registered name."""
    name: str | None = None
    """What the answers are called by; None is the copy's own name."""
    radius_arcsec: float | None = None
    """None is the definition's radius, else 1 arcsec."""
    columns: Sequence[str] | Callable[[LocalCopy], Sequence[str]] | None = None
    """Columns to answer with, by the copy's names or VizieR's, or what chooses them when a copy is opened; None is
    every column of the copy."""


@dataclass(frozen=True)
class Target:
    """One catalogue to match against, opened and checked."""

    name: str
    copy: LocalCopy
    rule: MatchRule
    schema: pa.Schema
    """Of the asked columns, under the copy's names, with their metadata."""


def open_targets(
    targets: Iterable[CatalogTarget | LocalCopy | Path | str],
    *,
    n_neighbors: int | None = 1,
    min_radius_arcsec: float = 0.0,
) -> list[Target]:
    """Open catalogues and check what is asked of them.

    Parameters
    ----------
    targets : iterable of CatalogTarget, LocalCopy, Path or str
        At least one.
    n_neighbors : int or None, optional
        How many of the nearest; None is all within the radius.
    min_radius_arcsec : float, optional
        Only rows beyond this separation count, where it is above 0.

    Raises
    ------
    CatalogNotFoundError, CatalogError
        A copy that does not exist, is damaged, or lacks a column.
    RadiusError
        A radius that is not positive, or beyond a copy's margin.
    UsageError
        No target, a single one instead of a sequence, or two of one name.
    """
    given: object = targets
    if isinstance(given, str | Path | LocalCopy | CatalogTarget):
        raise UsageError(
            f"catalogues are a sequence, not the single {given!r}", hint="put it into brackets: [...]", value=given
        )
    opened = [_open(target, n_neighbors, min_radius_arcsec) for target in targets]
    if not opened:
        raise UsageError("no catalogue is given to match against")
    for i, target in enumerate(opened):
        if any(target.name == other.name for other in opened[:i]):
            raise UsageError(
                f"two catalogues are called {target.name}",
                hint="tell them apart: CatalogTarget(copy, name=...)",
                value=target.name,
            )
    return opened


def _open(target: CatalogTarget | LocalCopy | Path | str, n_neighbors: int | None, min_radius_arcsec: float) -> Target:
    if not isinstance(target, CatalogTarget):
        target = CatalogTarget(target)
    copy = target.copy if isinstance(target.copy, LocalCopy) else open_copy(target.copy)
    name = target.name or copy.name
    radius = target.radius_arcsec
    if radius is None:
        radius = copy.definition.radius_arcsec if copy.definition else DEFAULT_RADIUS_ARCSEC
    rule = MatchRule(radius, n_neighbors, min_radius_arcsec)
    check_margin(rule.radius_arcsec, copy.margin_arcsec, name)
    columns = target.columns(copy) if callable(target.columns) else target.columns
    schema = pa.schema([copy.schema.field(column) for column in copy.column_names(columns)])
    return Target(name, copy, rule, schema)


def __dir__() -> list[str]:
    return sorted(__all__)
