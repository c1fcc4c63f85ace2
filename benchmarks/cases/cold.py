"""The first batch of new workers, with only the HATS files: nothing of ours is cached, no side copy is there."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import skies
from benchmarks.answers import Answer, difference
from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, cluster, xmatch_columns
from benchmarks.cases.batch import profile_inside
from benchmarks.peers import ours
from benchmarks.peers.lsdb_plain import PlainLsdb, batch_answer
from benchmarks.timing import Timing
from xmatch_hats.catalogs.copy import LocalCopy

OURS, WARM, COLD = "xmatch-hats, new workers", "plain LSDB, warm workers", "plain LSDB, new workers"
ALERTS = 1000


def cold(bench: Bench) -> CaseResult:
    """Time the first batch after the workers were started anew, beside LSDB that has run long.

    Ours come last in a round, when LSDB's have read the same files: what is compared is work, not the disk.
    """
    copy = skies.sky_copy(bench.size)
    make = skies.AlertMaker(bench.size, ALERTS)
    result = CaseResult("1,000 alerts over 47 square degrees, nothing of ours cached")
    timings = {name: Timing(name) for name in (OURS, WARM, *((COLD,) if bench.full else ()))}
    with cluster() as warm_client:
        plain = PlainLsdb(copy.path, xmatch_columns(), RADIUS_ARCSEC)
        for number in range(2):
            _plain(plain, make(number), warm_client)
        for number in range(2, 2 + bench.rounds(7, 2)):
            batch = make(number)
            given: dict[str, Answer] = {}
            if bench.full:
                with cluster() as client:
                    seconds, given[COLD] = _plain(plain, batch, client)
                timings[COLD].seconds.append(seconds)
            seconds, given[WARM] = _plain(plain, batch, warm_client)
            timings[WARM].seconds.append(seconds)
            with cluster() as client:
                seconds, mine = _ours(copy, batch, client)
            timings[OURS].seconds.append(seconds)
            for name, answer in given.items():
                if wrong := difference(mine, answer, RADIUS_ARCSEC, 1e-9):
                    result.differences.append(f"{name} against {OURS}: {wrong}")
            result.compared += len(mine.left)
            print(
                "  " + ", ".join(f"{name} {timing.seconds[-1]:.3f} s" for name, timing in timings.items()), flush=True
            )
    result.ways = {name: timing.to_json() for name, timing in timings.items()}
    result.figures = {"ratio": timings[WARM].median / timings[OURS].median}
    if bench.full:
        result.figures["ratio_both_cold"] = timings[COLD].median / timings[OURS].median
    result.facts.append(
        "No side copy; workers were started anew before each batch of ours, the engine was opened and its workers made "
        "ready, as the step does before it says that it is, and the first batch timed. The ratio is against LSDB in "
        "workers that are warm, which answers the same batch just before."
    )
    batches = [make(98)]
    result.profile = "One thread, workers' part included:\n"
    result.profile += profile_inside(copy, xmatch_columns(), batches, is_warm=False)
    return result


def _ours(copy: LocalCopy, batch: Any, client: Any) -> tuple[float, Answer]:
    with ours.matcher(copy, xmatch_columns(), RADIUS_ARCSEC, client=client) as engine:
        engine.open()
        engine.connect()  # workers import what they need; no partition is opened
        began = time.perf_counter()
        found = engine.match(*batch)
        return time.perf_counter() - began, ours.batch_answer(found)


def _plain(plain: PlainLsdb, batch: Any, client: Any) -> tuple[float, Answer]:
    with client.as_current():
        began = time.perf_counter()
        frame = plain.match(batch)
        return time.perf_counter() - began, batch_answer(frame)
