"""Batches of alerts beside plain LSDB, on one catalogue and one cluster."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from benchmarks import skies
from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, cluster, profiled, xmatch_columns
from benchmarks.peers import ours
from benchmarks.peers.lsdb_plain import PlainLsdb, batch_answer
from benchmarks.timing import Way, in_turn
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.demo.sky import SkyBox
from xmatch_hats.matching.scheduling import Scheduler

OURS, PLAIN = "xmatch-hats", "plain LSDB"


def warm(bench: Bench) -> CaseResult:
    """Time 1,000 alerts over one exposure, again and again."""
    return _beside_lsdb(bench, 1000, "1,000 alerts over 47 square degrees, warm", bench.rounds(9, 2), repeats=5)


def large(bench: Bench) -> CaseResult:
    """Time 10,000 alerts over one exposure."""
    return _beside_lsdb(bench, 10_000, "10,000 alerts over 47 square degrees, warm", bench.rounds(5, 2), repeats=3)


def one(bench: Bench) -> CaseResult:
    """Time one alert."""
    return _beside_lsdb(bench, 1, "one alert, warm", bench.rounds(9, 1), repeats=10)


def plane(bench: Bench) -> CaseResult:
    """Time 1,000 alerts in the plane of the Galaxy, at ten times the density."""
    box = skies.plane_box(bench.size)
    title = f"1,000 alerts over {box.area_deg2:.1f} square degrees at the plane's density, warm"
    return _beside_lsdb(bench, 1000, title, bench.rounds(5, 2), repeats=5, box=box)


def _beside_lsdb(
    bench: Bench, alerts: int, title: str, rounds: int, *, repeats: int, box: SkyBox = skies.EXPOSURE
) -> CaseResult:
    copy = skies.with_side_copy(skies.sky_copy(bench.size))
    columns = xmatch_columns()
    make = skies.AlertMaker(bench.size, alerts, box)
    with cluster() as client, ours.matcher(copy, columns, RADIUS_ARCSEC, client=client) as engine:
        engine.open()
        lsdb = PlainLsdb(copy.path, columns, RADIUS_ARCSEC)
        ways = [
            Way(OURS, lambda batch: engine.match(*batch), ours.batch_answer, repeats),
            Way(PLAIN, lsdb.match, batch_answer, tolerance_arcsec=1e-9),
        ]
        turns = in_turn(ways, make, rounds=rounds)
        result = CaseResult.of(title, turns)
        batches = [make(10_000 + number) for number in range(10)]
        result.profile = "Ten batches, as the client sees them:\n"
        result.profile += profiled(lambda: [engine.match(*batch) for batch in batches])
    result.profile += "\n\nThe same in one thread, workers' part included:\n" + profile_inside(copy, columns, batches)
    result.figures = {
        "ratio": turns.ratio(PLAIN, OURS),
        "milliseconds": turns.timings[OURS].median * 1e3,
    }
    result.facts.append(
        f"{copy.total_rows:,} rows in {len(copy.partitions):,} partitions; {len(columns)} columns; "
        f"{turns.compared / (rounds * repeats * alerts):.0%} of the alerts matched."
    )
    return result


def profile_inside(copy: LocalCopy, columns: list[str], batches: list[Any], *, is_warm: bool = True) -> str:
    """Profile client's and workers' part of some batches together, in this thread."""

    def ask(_scheduler: Scheduler, calls: Any) -> list[Any]:
        return [call.function(*call.arguments) for call in calls]

    with (
        patch.object(Scheduler, "ask", ask),
        ours.matcher(copy, columns, RADIUS_ARCSEC, workers=0) as engine,
    ):
        engine.open()
        for batch in batches if is_warm else ():
            engine.match(*batch)
        return profiled(lambda: [engine.match(*batch) for batch in batches])
