"""How long a join of whole surveys takes: a model of ``bulk catalogs``, fed with what one machine measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmatch_hats.bulk.runs.dispatch import AHEAD, MESSAGE_SECONDS, MESSAGE_TASKS

Floats = NDArray[np.float64]

ALLWISE_ROWS = 747_634_026
FOOTPRINT = 0.75
BLOCK = 32
"""Partitions that are drawn together, so that dense ones lie beside dense ones as they do on the sky."""
CORES = (2, 16, 120)
DISKS = {"NVMe": 2e9, "shared": 0.2e9}
"""Bytes a second."""
SURVEYS = {
    "ZTF DR14 objects, 1.2 billion rows": (1.2e9, 2_352),
    "ZTF DR, 5 billion rows": (5e9, 42_000),
}
"""Rows and partitions of left sides."""
ASSUMPTIONS = (
    "A core is one of the machine that measured, with a worker of its own; cores do not slow each other.",
    "Reading and writing go on beside the work: a run takes what its units take, or what the disk takes where that is "
    "more. NVMe is 2 GB/s; shared is 0.2 GB/s, what LSDB's authors saw when they copied catalogues on their cluster. "
    "The network is no slower than the disk behind it.",
    f"Units are as unequal as partitions of the bench's sky, plane and thin sky included, drawn {BLOCK} neighbours at "
    "a time. What is large on one side is large on the other, which makes the largest larger.",
    f"{FOOTPRINT:.0%} of the {ALLWISE_ROWS:,} rows of ALLWISE, those above -30 degrees, are read. A unit is the larger "
    "partition of either side with all of the other's within it.",
    "LSDB's ZTF DR14 has 1.2 billion objects in 2,352 partitions, and sources in 41,679. The billions of light curves "
    "of a data release are put at 5 billion rows.",
    "One client hands out messages one by one, each at the cost of an empty one here.",
    "Planning, metadata and publishing are one process's, at a cost for each left partition that stays the same.",
)
PUBLISHED = (
    ("LSDB's demo: Gaia DR3 x ZTF DR14 objects, 12 columns, 5.9 M rows kept in memory, none written "
     "(linccfw-review.readthedocs.io, LSDB_HATS)", 1.2e9, 287.0, 120),
    ("LSDB's documentation: ZTF DR14 x Gaia DR3, all columns, 498 GB written (docs.lsdb.io, Performance)",
     1.2e9, 2_760.0, 128),
)  # fmt: skip
"""What, left rows, seconds, cores."""


@dataclass(frozen=True)
class Costs:
    """Seconds of one core, or bytes, for each thing of a kind."""

    left_partition: float
    right_partition: float
    left_row: float
    right_row: float
    margin: float
    """Of an output partition."""
    message: float
    """Of the client, which sends one after the other."""
    start: float
    """Once a run, by one process."""
    finish: float
    """For each left partition, by one process."""
    left_bytes: float
    """Read for a left row: compressed, of columns that are asked or needed."""
    right_bytes: float
    """Read for a right row, its part of the margin included."""
    written_bytes: float
    """For a left row."""

    def seconds(self, units: Floats) -> Floats:
        """How long units take; shape (units, 4): partitions left and right, rows left and right."""
        return units @ (self.left_partition, self.right_partition, self.left_row, self.right_row)


def draw_units(rows: float, partitions: int, right_partition_rows: float, sizes: Sequence[int]) -> Floats:
    """Units of a survey against ALLWISE, as unequal as given partitions along the sphere; shape (units, 4)."""
    right_rows = ALLWISE_ROWS * FOOTPRINT
    right_partitions = right_rows / right_partition_rows
    count = round(min(partitions, right_partitions))
    starts = np.random.default_rng(3).integers(len(sizes), size=-(-count // BLOCK))
    drawn = np.asarray(sizes, float)[(starts[:, None] + np.arange(BLOCK)) % len(sizes)].ravel()[:count]
    even, uneven = np.full(count, 1 / count), drawn / drawn.sum()
    return np.stack([even * partitions, even * right_partitions, uneven * rows, uneven * right_rows], axis=1)


def messages(seconds: Floats) -> list[float]:
    """Small tasks put together, as `xmatch_hats.bulk.runs.dispatch` does."""
    found, tasks = list[float](), MESSAGE_TASKS
    for task in seconds.tolist():
        if tasks < MESSAGE_TASKS and found[-1] + task <= MESSAGE_SECONDS:
            found[-1] += task
            tasks += 1
        else:
            found.append(task)
            tasks = 1
    return found


def schedule(seconds: Floats, workers: int, message_seconds: float) -> float:
    """Seconds until all tasks are done that one client hands out in their order, to the worker that is free first."""
    free, under_way = [0.0] * workers, list[float]()
    client = 0.0
    for work in messages(seconds):
        if len(under_way) == AHEAD * workers:
            client = max(client, heappop(under_way))
        client += message_seconds
        end = max(heappop(free), client) + work
        heappush(free, end)
        heappush(under_way, end)
    return max(free)


def predict(units: Floats, costs: Costs, workers: int) -> float:
    """Seconds of a run, were there no disks."""
    partitions = float(units[:, 0].sum())
    margins = schedule(np.full(round(partitions), costs.margin), workers, costs.message)
    matching = schedule(costs.seconds(units), workers, costs.message)
    return costs.start + costs.finish * partitions + matching + margins


def forecast(costs: Costs, sizes: Sequence[int], right_partition_rows: float) -> Iterator[dict[str, Any]]:
    """What each survey takes on each number of cores."""
    for name, (rows, partitions) in SURVEYS.items():
        units = draw_units(rows, partitions, right_partition_rows, sizes)
        each = costs.seconds(units)
        read = rows * costs.left_bytes + float(units[:, 3].sum()) * costs.right_bytes
        written = rows * costs.written_bytes
        for cores in CORES:
            seconds = predict(units, costs, cores)
            disks = {disk: max(seconds, (read + written) / rate) for disk, rate in DISKS.items()}
            yield {
                "survey": name, "cores": cores, "units": len(each), "largest": float(each.max()), "read": read,
                "balanced": (float(each.sum()) + partitions * costs.margin) / cores, "written": written,
                "alone": costs.start + costs.finish * partitions, "seconds": seconds,
                "rate": rows / seconds / cores, **disks,
            }  # fmt: skip


def tell(ways: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the report."""
    yield from _table("cost | of one", ([name, f"{value:.3g}"] for name, value in ways["costs"].items()))
    checks = ([c["join"], c["workers"], *(f"{c[n]:.2f} s" for n in ("predicted", "measured")), f"{c['error']:+.0%}"]
              for c in ways["check"])  # fmt: skip
    yield from _table("check | workers | predicted | measured | error", checks)
    titles = f"with ALLWISE | cores | balanced | one process | scheduled | {' | '.join(f'{d} disk' for d in DISKS)}"
    lines = ([f["survey"], f["cores"], *(_long(f[name]) for name in ("balanced", "alone", "seconds", *DISKS)),
              f"{f['rate']:,.0f}", f"{f['units']:,}", _long(f["largest"]),
              f"{f['read'] / 1e9:,.0f} and {f['written'] / 1e9:,.0f} GB"] for f in ways["forecast"])  # fmt: skip
    yield from _table(f"{titles} | left rows/s per core, scheduled | units | largest | read and written", lines)
    beside = ([what, f"{n:.3g}", cores, _long(s), f"{n / s / cores:,.0f}"] for what, n, s, cores in ways["beside"])
    yield from _table("beside | left rows | cores | time | left rows/s per core", beside)
    yield from ("Assumed:", "", *(f"* {assumption}" for assumption in ASSUMPTIONS), "")


def _table(titles: str, lines: Any) -> Iterator[str]:
    yield from (f"| {titles} |", "|" + "---|" * (titles.count("|") + 1))
    yield from (f"| {' | '.join(map(str, line))} |" for line in lines)
    yield ""


def _long(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"
