"""A join as a whole: what there is to do, what of it is done, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from xmatch_hats import __version__
from xmatch_hats.bulk.catalogs.finish import LOG_FILE, Finish
from xmatch_hats.bulk.catalogs.join import join_unit
from xmatch_hats.bulk.catalogs.left_tables import remove_left
from xmatch_hats.bulk.catalogs.margin import margin_tasks
from xmatch_hats.bulk.catalogs.memory import Budget
from xmatch_hats.bulk.catalogs.planning import make_plan, unit_bytes
from xmatch_hats.bulk.catalogs.settings import Settings
from xmatch_hats.bulk.catalogs.units import plan_units
from xmatch_hats.bulk.runs.dispatch import run_tasks
from xmatch_hats.bulk.runs.estimate import Estimate, estimate_run
from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.bulk.runs.task import Failure, Outcome, Task
from xmatch_hats.bulk.runs.watch import Listener, Watch
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.staging import RECIPE, Staging, recipe_folder
from xmatch_hats.display import as_html
from xmatch_hats.errors import CatalogError, UsageError
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.states import folder_state

FAILURES_TOLD = 10
MARGINS_ON_DISK = 1.1
"""Times what units write, with the margins that are gathered from it."""


@dataclass(frozen=True)
class Joined:
    """What became of two catalogues."""

    path: Path
    """Folder of the collection that was written."""
    rows: int
    """Its rows."""
    left_rows: int
    """Rows of the left catalogue: the sum of the next five."""
    left_out: int
    """Rows that region and query left out."""
    matched: int
    """Rows that have a match."""
    unmatched: int
    outside_coverage: int
    rejected: int
    pairs: int
    """Pairs that were found, before a condition on the output."""
    partitions: int
    """Partitions that were written."""
    units: int
    """Units of work."""
    units_skipped: int
    """Those of them that an earlier call had done."""

    def _repr_html_(self) -> str:
        facts = asdict(self)
        path = facts.pop("path")
        return as_html("Joined", {"collection": path, **{name.replace("_", " "): n for name, n in facts.items()}})


class CatalogJob:
    """One join, from its arguments to the published collection.

    Raises
    ------
    CatalogError, UsageError
        As by `xmatch_hats.bulk.catalogs.planning.make_plan`.
    """

    def __init__(
        self,
        left: LocalCopy,
        right: LocalCopy,
        out: Path,
        settings: Settings,
        budget: Budget,
        listener: Listener | None = None,
        tables: Path | None = None,
    ) -> None:
        self.copies = (left, right)
        self.tables = tables
        self.out = out
        self.settings = settings
        self.listener = listener or Listener()
        self.plan = make_plan(left, right, settings, out.parent / f".{out.name}.matching", budget)
        self.units = plan_units(self.plan.left.partitions, self.plan.right.partitions)

    def run(self, scheduler: Scheduler) -> Joined:
        """Do what is not done, and publish."""
        left, right = self.copies
        if self.settings.rule.radius_arcsec > right.margin_arcsec > 0:
            self.listener.say(
                f"the radius is wider than the margin of {right.name} ({right.margin_arcsec:g} arcsec): "
                "neighbouring partitions are read in its stead"
            )
        with Staging(self.out, self._recipe(), self.listener.say, work="match") as staging:
            plan = replace(self.plan, folder=staging.own(), coverage=right.coverage)
            plan.folder.mkdir(exist_ok=True)
            shared = Shared.write(plan, plan.folder / "plan")
            tasks = [Task(unit.name, unit_bytes(unit, plan), join_unit, (unit, shared)) for unit in self.units]
            outcome = self._do("matching", tasks, staging, scheduler)
            margins = self._do("margins", list(margin_tasks(outcome.done.values(), plan, shared)), staging, scheduler)
            whole = len(plan.left.partitions) == len(left.partitions)
            records = list(margins.done.values())
            totals = Finish(plan, self.settings, left, right, outcome.done, records, whole, self.tables).run()
            staging.publish(plan.made.folder)
        remove_left(self.out)
        partitions = sum(len(record["partitions"]) for record in outcome.done.values())
        return Joined(
            path=self.out, rows=totals["rows"], left_rows=totals["in"], left_out=totals["left_out"],
            matched=totals["matched"], unmatched=totals["unmatched"], outside_coverage=totals["outside_coverage"],
            rejected=totals["rejected"], pairs=totals["pairs"], partitions=partitions, units=len(self.units),
            units_skipped=len(outcome.skipped),
        )  # fmt: skip

    def _do(self, stage: str, tasks: list[Task], staging: Staging, scheduler: Scheduler) -> Outcome:
        watch = Watch(
            staging.own(LOG_FILE), tasks=len(tasks), size=sum(task.size for task in tasks),
            settings=self.settings.told() | {"stage": stage}, show=lambda done: self.listener.show(stage, done),
        )  # fmt: skip
        ledger = Ledger(_ledger_folder(staging.own(), stage))
        # A query that fails on one row is changed, whatever the other units make of it: they need not be tried.
        outcome = run_tasks(tasks, ledger, scheduler, watch=watch, stop_on=(UsageError,))
        if outcome.skipped:
            self.listener.say(f"{stage}: {len(outcome.skipped):,} of {len(tasks):,} units were done already")
        if outcome.failed:
            self._tell_failed(outcome.failed, staging.own(LOG_FILE))
            first = next(iter(outcome.failed.values()))
            raise CatalogError(
                f"{len(outcome.failed):,} of {len(tasks):,} units could not be done, the first because: {first.reason}",
                place=self.out,
                hint="nothing is there yet; mend that, and run the same command again: what is done is kept",
            )
        return outcome

    def _tell_failed(self, failed: dict[str, Failure], log: Path) -> None:
        for name, failure in list(failed.items())[:FAILURES_TOLD]:
            self.listener.say(f"{name}: tried {failure.attempts} times: {failure.reason}")
        if len(failed) > FAILURES_TOLD:
            self.listener.say(f"and {len(failed) - FAILURES_TOLD:,} more: see {log}")

    def estimate(self, workers: int) -> Estimate:
        """Say what the run would cost, by doing a few units and throwing them away.

        Parameters
        ----------
        workers : int
            How many units will be worked on at the same time.
        """
        self.listener.say("doing a few units to see how long they take")
        done = self._done_before()
        left = [unit for unit in self.units if unit.name not in done]
        coverage = self.copies[1].coverage

        def make_sample(folder: Path, numbers: Sequence[int]) -> list[Task]:
            plan = replace(self.plan, folder=folder, coverage=coverage)
            shared = Shared.write(plan, folder / "plan")
            units = [left[number] for number in numbers]
            return [Task(unit.name, unit_bytes(unit, plan), join_unit, (unit, shared)) for unit in units]

        sizes = [unit_bytes(unit, self.plan) for unit in left]
        return estimate_run(sizes, make_sample, self.out, workers=workers, skipped=len(done), on_disk=MARGINS_ON_DISK)

    def _done_before(self) -> set[str]:
        """Units that an earlier call of the same work has done."""
        folder = self.plan.folder
        try:
            recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return set()
        if recipe != json.loads(json.dumps(self._recipe())):
            return set()
        ledger = Ledger(_ledger_folder(recipe_folder(folder, recipe), "matching"))
        return {unit.name for unit in self.units} & ledger.done().keys()

    def _recipe(self) -> dict[str, Any]:
        """What determines the rows; work of another recipe is not gone on with."""
        return {
            "catalogs": [[str(copy.path), copy.version, folder_state(copy.path)] for copy in self.copies],
            "partitions": [side.state() for side in (self.plan.left, self.plan.right)],
            "schema": str(self.plan.schema),
            "settings": repr(self.settings.told()),
            "region": None if self.settings.region is None else self.settings.region.identity(),
            "margin_arcsec": self.plan.margin_arcsec,
            "software": __version__,
        }


def _ledger_folder(folder: Path, stage: str) -> Path:
    return folder / "done" / stage
