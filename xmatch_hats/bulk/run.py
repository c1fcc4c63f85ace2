"""One call that joins two HATS catalogues into a third."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa

from xmatch_hats import __version__
from xmatch_hats.bulk.join import Done, Plan, join_units
from xmatch_hats.bulk.units import Side, Unit, bundle, plan_units
from xmatch_hats.bulk.write import write_metadata
from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import LocalCopy, open_copy
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.catalogs.staging import Staging
from xmatch_hats.errors import UsageError
from xmatch_hats.matching.assemble import (
    DISTANCE,
    RANK,
    RESULT_METADATA,
    Join,
    catalog_names,
    check_join,
    result_names,
)
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.states import folder_state

logger = logging.getLogger(__name__)

MAP_ORDERS = (8, 10)
"""Orders of the map of rows: at least and at most, else that of the finest partition."""
TASKS_PER_WORKER = 12
"""Enough that workers finish at about the same time, few enough that sending them costs nothing."""


@dataclass(frozen=True)
class Joined:
    """What became of two catalogues."""

    path: Path
    """Folder of the catalogue that was written."""
    rows: int
    """Its rows."""
    left_rows: int
    """Rows of the left catalogue."""
    matched: int
    """Those of them that have a match."""
    partitions: int
    """Partitions that were written."""


def crossmatch_catalogs(  # noqa: PLR0913, one call with everything by keyword
    left: LocalCopy | Path | str,
    right: LocalCopy | Path | str,
    out: Path | str,
    *,
    radius_arcsec: float,
    n_neighbors: int | None = 1,
    left_columns: Sequence[str] | None = None,
    right_columns: Sequence[str] | None = None,
    join: Join = "inner",
    scheduler: Scheduler | None = None,
    workers: int | None = None,
) -> Joined:
    """Match every row of a HATS catalogue with those of another, and write the pairs as a HATS catalogue.

    Nothing is under the name of the output before all of it is. A call that was killed is taken up by the next one of
    the same catalogues and arguments.

    Parameters
    ----------
    left, right : LocalCopy, Path or str
        Copies, their folders or their registered names; HATS catalogues of others, too. A margin cache of the right
        one is used where it is at least as wide as the radius; else the rows of neighbouring partitions are read.
    out : Path or str
        Folder of the new catalogue; must not exist.
    radius_arcsec : float
        Inclusive.
    n_neighbors : int or None, optional
        How many of the nearest rows; None is all within the radius.
    left_columns, right_columns : sequence of str, optional
        Columns to keep, by the copies' names or VizieR's; by default all. The left coordinates are always kept.
    join : {"inner", "left"}, optional
        Whether only left rows with a match are written, or all of them.
    scheduler : Scheduler, optional
        Where to compute; it stays open.
    workers : int, optional
        Worker processes of a cluster for this one call, in place of a scheduler; 0 works in threads of this process.
        By default one per core. The output does not depend on it.

    Returns
    -------
    Joined

    Raises
    ------
    CatalogError, PartitionReadError
        A catalogue is missing or damaged, lacks a column, or the output exists, is being written by another call, or
        cannot be written.
    RadiusError, UsageError
        Arguments that mean nothing.
    SystemFailure
        The workers were lost.
    """
    rule = MatchRule(float(radius_arcsec), n_neighbors)
    check_join(join, {})
    if scheduler is not None and workers is not None:
        raise UsageError("give only one of a scheduler and a number of workers")
    first, second = (copy if isinstance(copy, LocalCopy) else open_copy(copy) for copy in (left, right))
    job = _Job(first, second, Path(out).expanduser().absolute(), rule, join, left_columns, right_columns)
    if scheduler is not None:
        return job.run(scheduler)
    with Scheduler(workers=workers) as own:
        return job.run(own)


class _Job:
    """One join, from its arguments to the published catalogue."""

    def __init__(
        self,
        left: LocalCopy,
        right: LocalCopy,
        out: Path,
        rule: MatchRule,
        join: Join,
        left_columns: Sequence[str] | None,
        right_columns: Sequence[str] | None,
    ) -> None:
        self.out = out
        self.copies = (left, right)
        self.rule = rule
        self.join = join
        kept = dict.fromkeys((*left.column_names(left_columns), left.ra_column, left.dec_column))
        self.left = Side.of(left, [HEALPIX_COLUMN, *kept])
        margin = right.margin_path if rule.radius_arcsec <= right.margin_arcsec else None
        self.right = Side.of(right, right.column_names(right_columns), margin)
        self.schema = _schema(self.left, self.right, right.name, rule)
        low, high = MAP_ORDERS
        self.map_order = min(max(low, *(order for order, _ in left.partitions), 0), high)

    def run(self, scheduler: Scheduler) -> Joined:
        recipe = {
            "catalogs": [[str(copy.path), copy.version, folder_state(copy.path)] for copy in self.copies],
            "partitions": [side.state() for side in (self.left, self.right)],
            "schema": str(self.schema),
            "rule": repr(self.rule),
            "join": self.join,
            "software": __version__,
        }
        with Staging(self.out, recipe, logger.info, work="match") as staging:
            plan = Plan(self.left, self.right, self.rule, self.join, self.schema, staging.folder, self.map_order)
            done = self._join(plan, scheduler)
            written = [part for unit in done for part in unit.written]
            write_metadata(plan.catalog, written, self.schema, self.map_order, self._properties())
            staging.publish(plan.catalog)
        return Joined(
            path=self.out,
            rows=sum(part.rows for part in written),
            left_rows=sum(unit.left_rows for unit in done),
            matched=sum(unit.matched for unit in done),
            partitions=len(written),
        )

    def _join(self, plan: Plan, scheduler: Scheduler) -> list[Done]:
        found = {unit: _recorded(plan.record(unit)) for unit in plan_units(self.left.partitions, self.right.partitions)}
        units = [unit for unit, done in found.items() if done is None]
        tasks = bundle(units, [self._size(unit) for unit in units], TASKS_PER_WORKER * scheduler.homes())
        # Dask takes tasks of one name for the same.
        run = uuid4().hex
        keys = [f"xmatch-bulk-{run}-{number}" for number in range(len(tasks))]
        graph: dict[Hashable, Any] = {key: (join_units, task, plan) for key, task in zip(keys, tasks, strict=True)}
        new = [done for dones in scheduler.run(graph, keys) for done in dones]
        found.update(zip(units, new, strict=True))
        return [done for done in found.values() if done is not None]

    def _size(self, unit: Unit) -> int:
        """Bytes that a unit reads, about."""
        files = (*map(self.left.file, unit.left), *map(self.right.file, unit.right))
        return sum(path.stat().st_size for path in files if path.exists())

    def _properties(self) -> dict[str, Any]:
        left, right = self.copies
        kind = layout.read_catalog_properties(left.main_path)["dataproduct_type"]
        return {
            "catalog_name": f"{left.name}_x_{right.name}",
            "catalog_type": kind,
            "ra_column": left.ra_column,
            "dec_column": left.dec_column,
        }


def _recorded(path: Path) -> Done | None:
    """What an earlier call, which was interrupted, did of a unit; None where it did not finish it."""
    try:
        return Done.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _schema(left: Side, right: Side, name: str, rule: MatchRule) -> pa.Schema:
    """Columns of the output; names that are taken end in the right catalogue's name."""
    kinds = {DISTANCE: pa.float64()} | ({RANK: pa.int32()} if rule.n_neighbors != 1 else {})
    finals = result_names([name], left.columns)
    titles = catalog_names(left.columns, {name: right.columns}, finals.values())[name]
    fields = [left.schema.field(column) for column in left.columns]
    for column, title in zip(right.columns, titles, strict=True):
        fields.append(right.schema.field(column).with_name(title).with_nullable(True))
    fields += [pa.field(finals[name, kind], type_, metadata=RESULT_METADATA[kind]) for kind, type_ in kinds.items()]
    return pa.schema(fields)
