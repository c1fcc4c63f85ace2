"""What the slices of one archive are worked by: catalogues, columns and folders, the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmatch_hats.alerts.xmatches import default_columns
from xmatch_hats.bulk.runs.provenance import copy_input
from xmatch_hats.matching.targets import CatalogTarget, Target, open_targets


@dataclass(frozen=True)
class CatalogPlan:
    """One catalogue to match with."""

    name: str
    path: Path
    version: str
    """When the run began: no slice is matched with another one."""
    radius_arcsec: float
    columns: tuple[str, ...]
    """Of its rows, in the rows of alerts."""
    wire_columns: tuple[str, ...]
    """Of its rows, in packets."""
    facts: Mapping[str, Any]
    """Which version of it this is, for the provenance."""

    def target(self) -> CatalogTarget:
        """The catalogue, as the engine takes it."""
        columns = tuple(dict.fromkeys((*self.columns, *self.wire_columns)))
        return CatalogTarget(self.path, self.name, self.radius_arcsec, columns)

    def to_json(self) -> dict[str, Any]:
        """What is asked of it."""
        return {
            "name": self.name, "radius_arcsec": self.radius_arcsec,
            "columns": list(self.columns), "wire_columns": list(self.wire_columns),
        }  # fmt: skip


@dataclass(frozen=True)
class SlicePlan:
    """Everything that slices of one archive have in common."""

    place: str
    """The archive, for people."""
    archive: str
    """Its name without suffixes."""
    catalogs: tuple[CatalogPlan, ...]
    columns: tuple[str, ...]
    """Fields of `candidate`, beside those that every row has."""
    with_packets: bool
    folder: Path
    """Where slices are written to."""

    def path(self, kind: str, name: str) -> Path:
        """File of a slice."""
        return self.folder / kind / f"{name}{SUFFIXES[kind]}"

    @property
    def scratch(self) -> Path:
        """Folder for files that are not whole."""
        return self.folder / "scratch"


SUFFIXES = {"rows": ".parquet", "rejected": ".parquet", "rejects": ".parquet", "packets": ".tar.gz"}
"""What a slice may write: rows of alerts; rows of those without a position; packets and records that are set aside,
with their reasons; and packets with ``xmatches``."""


def plan_catalogs(
    targets: Sequence[CatalogTarget], columns: Mapping[str, Sequence[str]] | None = None
) -> tuple[CatalogPlan, ...]:
    """Open the catalogues to match with, and say what is taken of them.

    Parameters
    ----------
    targets : sequence of CatalogTarget
    columns : mapping of str to sequence of str, optional
        By catalogue, the columns that go into packets; default as in a stream.

    Raises
    ------
    CatalogNotFoundError, CatalogError, RadiusError, UsageError
        As by `xmatch_hats.matching.targets.open_targets`.
    """
    return tuple(_plan(target, (columns or {}).get(target.name)) for target in open_targets(targets))


def _plan(target: Target, wire: Sequence[str] | None) -> CatalogPlan:
    copy = target.copy
    definition = copy.definition
    preferred = (definition.xmatch_columns or definition.default_columns) if definition else ()
    return CatalogPlan(
        name=target.name,
        path=copy.path.resolve(),
        version=copy.version,
        radius_arcsec=target.rule.radius_arcsec,
        columns=tuple(target.schema.names),
        wire_columns=tuple(wire or default_columns(copy.schema, preferred)),
        facts=copy_input(copy),
    )
