"""Memory of a worker that has done all there is to do, over one that has only imported lsdb."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks import skies
from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, cluster, xmatch_columns
from benchmarks.cases.bulk import LEFT_COLUMNS, RIGHT_COLUMNS
from benchmarks.memory import MIB, Watch, resident_mib
from benchmarks.peers import ours


def memory(bench: Bench) -> CaseResult:
    """Watch the workers of one cluster through exposures all over the catalogue, large batches and a bulk match."""
    bound = (512 if bench.full else 64) * MIB
    with cluster() as client:
        client.run(_import_lsdb)
        plain = max(resident_mib([pid]) for pid in client.run(os.getpid).values())
    seen: dict[str, float] = {}
    held = []
    with cluster() as client, TemporaryDirectory(prefix="memory-", dir=skies.cache()) as name:
        pids = list(client.run(os.getpid).values())
        for what, run in (("exposures", _exposures), ("large batches", _large), ("bulk", _bulk)):
            seen[what] = _peak(pids, lambda r=run: r(bench, client, bound, Path(name)))
            print(f"  {what}: {seen[what]:,.0f} MiB in the larger worker", flush=True)
            held.append(f"After {what}:\n{_held(pids)}")
        if list(client.run(os.getpid).values()) != pids:
            seen["lost"] = float("inf")
    over = max(seen.values()) - plain - bound / MIB
    return CaseResult(
        "memory of a worker",
        figures={"over_mib": over},
        facts=[
            f"A worker that has imported lsdb: {plain:,.0f} MiB; the bound: {bound / MIB:.0f} MiB. Peaks of the larger "
            "worker: " + ", ".join(f"{what} {value:,.0f} MiB" for what, value in seen.items()) + ". Resident memory, "
            "mapped pages of files included, sampled fifty times a second."
        ],
        profile="\n\n".join(held),
    )


def _held(pids: list[int], lines: int = 10) -> str:
    """What the worker that has most holds, by file; partitions of one side copy are added up."""
    largest = max(pids, key=lambda pid: resident_mib([pid]))
    sizes: Counter[str] = Counter()
    for there in psutil.Process(largest).memory_maps(grouped=True):
        is_partition = there.path.endswith(".arrow")
        sizes["partitions of side copies" if is_partition else Path(there.path).name] += there.rss
    return "\n".join(f"{size / MIB:8,.0f} MiB  {name}" for name, size in sizes.most_common(lines))


def _peak(pids: list[int], run: Any) -> float:
    """Peak of the worker that had most."""
    with ExitStack() as stack:
        watches = [stack.enter_context(Watch([pid])) for pid in pids]
        run()
    return max(watch.peak_mib for watch in watches)


def _exposures(bench: Bench, client: Any, bound: int, _work: Path) -> None:
    """Meet every partition of the catalogue twice, so that the bound is met."""
    copy = skies.with_side_copy(skies.sky_copy(bench.size))
    with ours.matcher(copy, xmatch_columns(), RADIUS_ARCSEC, client=client, cache_bytes=bound) as engine:
        for number in range(2 * bench.size.fields):
            engine.match(*skies.field_alerts(number % bench.size.fields, 1000, number))


def _large(bench: Bench, client: Any, bound: int, _work: Path) -> None:
    copy = skies.with_side_copy(skies.sky_copy(bench.size))
    bare = skies.sky_copy(bench.size)
    for this in (copy, bare):
        with ours.matcher(this, xmatch_columns(), RADIUS_ARCSEC, client=client, cache_bytes=bound) as engine:
            for alerts in (10_000, 100_000):
                engine.match(*skies.AlertMaker(bench.size, alerts)(0))


def _bulk(bench: Bench, client: Any, _bound: int, work: Path) -> None:
    from xmatch_hats.bulk import crossmatch_catalogs
    from xmatch_hats.matching.scheduling import Scheduler

    out = work / "out"
    crossmatch_catalogs(
        skies.left_copy(bench.size),
        skies.sky_copy(bench.size),
        out,
        radius_arcsec=RADIUS_ARCSEC,
        left_columns=LEFT_COLUMNS,
        right_columns=RIGHT_COLUMNS,
        scheduler=Scheduler(client),
    )
    shutil.rmtree(out)


def _import_lsdb() -> None:
    import lsdb  # noqa: F401
