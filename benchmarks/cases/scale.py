"""What a join of whole surveys costs: inputs of the model in `benchmarks.scale`, and how well it tells what is here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import results, skies
from benchmarks import scale as model
from benchmarks.case import RADIUS_ARCSEC, WORKERS, Bench, CaseResult, cluster, profiled
from benchmarks.cases.bulk import LEFT_COLUMNS, OURS, PLAIN, RIGHT_COLUMNS

ASKED: dict[str, Any] = {"left_columns": LEFT_COLUMNS, "right_columns": RIGHT_COLUMNS}
SWAPPED_ASKED: dict[str, Any] = {"left_columns": ("cntr", "w1mpro", "w2mpro"), "right_columns": ("oid", "meanmag")}
WHOLE, FINE, SWAPPED = "the bench's sky", "left side cut fine", "sides swapped"
"""Cut fine, partitions weigh more than rows; swapped, left rows are four times the right ones."""
ROUNDS = {FINE: 2, SWAPPED: 2, WHOLE: 3}
MESSAGES = 400


@dataclass
class Run:
    """One join, as its log tells it."""

    seconds: float
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds of each stage."""
    tasks: dict[str, dict[str, float]] = field(default_factory=dict)
    """By stage and name, seconds of each task."""

    def alone(self) -> float:
        """Seconds that one process worked before, between and after the stages."""
        return self.seconds - sum(self.stages.values())

    def busy(self) -> float:
        """Seconds of all tasks together."""
        return sum(sum(stage.values()) for stage in self.tasks.values())


def scale(bench: Bench) -> CaseResult:
    """Measure costs with one worker, and predict runs of one and two."""
    from xmatch_hats.matching.scheduling import Scheduler

    left, right = skies.left_copy(bench.size), skies.sky_copy(bench.size)
    joins = {WHOLE: (left, right, ASKED), FINE: (skies.left_cut_fine(), right, ASKED)}
    joins[SWAPPED] = (right, left, SWAPPED_ASKED)
    with tempfile.TemporaryDirectory(prefix="xmatch-hats-scale-", dir=skies.cache()) as name:
        out = Path(name) / "out"
        jobs = {kind: _job(join, out) for kind, join in joins.items()}
        runs, message, alone = _measure(joins, out, bench)
        written = sum(path.stat().st_size for path in out.rglob("*.parquet")) / left.total_rows
        with Scheduler(workers=0) as here:
            profile = f"{FINE}, in this process alone:\n" + profiled(lambda: _run(joins[FINE], out, here))
    units = {kind: _units(job) for kind, job in jobs.items()}
    costs = _costs(jobs, units, {kind: runs[kind, 1] for kind in jobs}, alone, message[1], written)
    check = []
    for (kind, workers), run in runs.items():
        found = model.predict(units[kind], costs, workers)
        error = found / run.seconds - 1
        check.append({"join": kind, "workers": workers, "predicted": found, "measured": run.seconds, "error": error})
    right_rows = float(units[WHOLE][:, 3].sum() / units[WHOLE][:, 1].sum())
    sizes = [_rows([right.partition_file(partition)]) for partition in right.partitions]
    forecasts = list(model.forecast(costs, sizes, right_rows))
    beside = [*_here(), *model.PUBLISHED]
    ways = {"costs": asdict(costs), "check": check, "forecast": forecasts, "beside": beside}
    rate = left.total_rows / runs[WHOLE, 1].busy()
    figures = {"rows_per_core": rate, "error_percent": 100 * max(abs(line["error"]) for line in check)}
    shapes = ", ".join(f"{len(job.units)} units of {len(joins[kind][0].partitions)}" for kind, job in jobs.items())
    fact = (
        f"Costs, in seconds and bytes, are of the fastest runs of one worker, files warm, over {left.total_rows:,} x "
        f"{right.total_rows:,} rows: {shapes} left partitions; the first at {rate:,.0f} left rows/s of a core at work. "
        f"ALLWISE is cut into partitions of {right_rows:,.0f} rows. Runs of two workers are predicted from one; "
        f"side by side, the first took {runs[WHOLE, WORKERS].busy() / runs[WHOLE, 1].busy():.2f} x the seconds for the "
        f"same units, and {1e3 * message[WORKERS]:.1f} ms a message: two cores also bear "
        "client, scheduler and disk. By as much as the predictions of two workers are too short, the forecasts may be."
    )
    return CaseResult("Scale: ZTF with ALLWISE, on paper", figures, ways, facts=[fact], profile=profile)


def _measure(joins: dict[str, Any], out: Path, bench: Bench) -> tuple[Any, dict[int, float], dict[str, float]]:
    """Fastest runs by join and workers, what a message costs by workers, and seconds of one process by join."""
    from xmatch_hats.matching.scheduling import Scheduler

    runs, message, alone = {}, {}, dict[str, float]()
    for workers in (1, WORKERS):
        with cluster(workers) as client:
            scheduler = Scheduler(client)
            _run(joins[WHOLE], out, scheduler)  # warms up
            for kind, rounds in ROUNDS.items():
                tried = [_run(joins[kind], out, scheduler) for _ in range(bench.rounds(rounds, 1))]
                # What else the machine does only adds.
                runs[kind, workers] = min(tried, key=lambda run: run.seconds)
                alone[kind] = min([*(run.alone() for run in tried), alone.get(kind, inf)])
            message[workers] = _message_seconds(scheduler, out.parent)
    return runs, message, alone


def _job(join: Any, out: Path) -> Any:
    """A join as it is planned: files, columns and units."""
    from xmatch_hats.bulk.catalogs.memory import Budget
    from xmatch_hats.bulk.catalogs.run import prepare
    from xmatch_hats.bulk.catalogs.settings import Settings
    from xmatch_hats.matching.rule import MatchRule

    left, right, asked = join
    return prepare(left, right, out, Settings(MatchRule(RADIUS_ARCSEC, 1), "inner", **asked), Budget.of(None))


def _run(join: Any, out: Path, scheduler: Any) -> Run:
    from xmatch_hats.bulk import crossmatch_catalogs
    from xmatch_hats.bulk.runs.watch import read_log

    left, right, asked = join
    shutil.rmtree(out, ignore_errors=True)
    began = perf_counter()
    crossmatch_catalogs(left, right, out, radius_arcsec=RADIUS_ARCSEC, scheduler=scheduler, **asked)
    run, stage = Run(perf_counter() - began), ""
    for event in read_log(out / "run.log.jsonl"):
        if event["event"] == "begin":
            stage = event["settings"]["stage"]
        elif event["event"] == "done":
            run.tasks.setdefault(stage, {})[event["task"]] = event["seconds"]
        elif event["event"] == "end":
            run.stages[stage] = event["seconds"]
    return run


def _message_seconds(scheduler: Any, folder: Path) -> float:
    """What a message costs that has nothing in it."""
    from xmatch_hats.bulk.runs.perform import perform

    under_way = 0
    with scheduler.stream("xmatch-scale") as stream:
        began = perf_counter()
        for _ in range(MESSAGES):
            if under_way >= model.AHEAD * stream.slots():
                under_way -= len(stream.wait())
            stream.submit(perform, [], folder)
            under_way += 1
        while under_way:
            under_way -= len(stream.wait())
        return (perf_counter() - began) / MESSAGES


def _units(job: Any) -> model.Floats:
    sides = job.plan.left, job.plan.right
    lines = []
    for unit in job.units:
        parts = unit.left, unit.right
        rows = [_rows(map(side.file, part)) for side, part in zip(sides, parts, strict=True)]
        lines.append([*map(len, parts), *rows])
    return np.array(lines, float)


def _costs(
    jobs: Any, units: Any, runs: dict[str, Run], alone: dict[str, float], message: float, written: float
) -> model.Costs:
    """Costs that tell the runs of one worker best, none below nothing."""
    from scipy.optimize import nnls

    seconds = [runs[kind].tasks["matching"][unit.name] for kind, job in jobs.items() for unit in job.units]
    each, _ = nnls(np.concatenate([units[kind] for kind in jobs]), np.array(seconds))
    partitions = {kind: float(units[kind][:, 0].sum()) for kind in jobs}
    finish = max(0.0, (alone[FINE] - alone[WHOLE]) / (partitions[FINE] - partitions[WHOLE]))
    margins = sum(sum(run.tasks.get("margins", {}).values()) for run in runs.values())
    plan, parts = jobs[WHOLE].plan, jobs[WHOLE].units
    left = [plan.left.file(part) for unit in parts for part in unit.left]
    right = [plan.right.file(part) for unit in parts for part in unit.right]
    beside = [path for unit in parts for part in unit.right if (path := plan.right.margin_file(part))]
    return model.Costs(
        *each.tolist(),
        margin=margins / sum(partitions.values()),
        message=message,
        start=max(0.0, alone[WHOLE] - finish * partitions[WHOLE]),
        finish=finish,
        left_bytes=_bytes(left, plan.left.schema.names) / _rows(left),
        right_bytes=_bytes([*right, *beside], plan.right.schema.names) / _rows(right),
        written_bytes=written,
    )


def _rows(files: Iterable[Path]) -> int:
    return sum(int(pq.read_metadata(path).num_rows) for path in files)


def _bytes(files: Iterable[Path], columns: Iterable[str]) -> int:
    """Compressed bytes of some columns."""
    wanted, size = set(columns), 0
    for path in files:
        found = pq.read_metadata(path)
        for group in map(found.row_group, range(found.num_row_groups)):
            chunks = map(group.column, range(group.num_columns))
            size += sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in wanted)
    return size


def _here() -> Iterator[tuple[str, float, float, int]]:
    """What the case `bulk` measured on this machine, at the largest size that was run."""
    kept = results.read()
    found = [kept[size]["bulk"] for size in ("full", "tenth") if "bulk" in kept.get(size, {})]
    for bulk in found[:1]:
        rows = float(bulk["title"].partition(" ")[0].replace(",", ""))
        for name in (PLAIN, OURS):
            yield f"{name}: {bulk['title']}, this machine", rows, bulk["ways"][name]["median"], WORKERS
