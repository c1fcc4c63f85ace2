"""The same rows and alerts on few and on many partitions."""

from __future__ import annotations

from benchmarks import skies
from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, cluster, profiled, xmatch_columns
from benchmarks.peers import ours
from benchmarks.timing import Way, in_turn

ALERTS = 1000


def partitions(bench: Bench) -> CaseResult:
    """Time a warm batch on the fine layout and on the importer's own."""
    columns = xmatch_columns()
    coarse, fine = (skies.with_side_copy(make(bench.size)) for make in (skies.sky_copy, skies.fine_copy))
    of_few, of_many = (f"{len(copy.partitions):,} partitions" for copy in (coarse, fine))
    make = skies.AlertMaker(bench.size, ALERTS)
    with (
        cluster() as client,
        ours.matcher(coarse, columns, RADIUS_ARCSEC, client=client) as few,
        ours.matcher(fine, columns, RADIUS_ARCSEC, client=client) as many,
    ):
        for engine in (few, many):
            engine.open()
        ways = [
            Way(of_few, lambda batch: few.match(*batch), ours.batch_answer, 10),
            Way(of_many, lambda batch: many.match(*batch), ours.batch_answer, 10),
        ]
        turns = in_turn(ways, make, rounds=bench.rounds(9, 2))
        result = CaseResult.of("the warm batch of 1,000 on many partitions against few", turns)
        batches = [make(10_000 + number) for number in range(10)]
        result.profile = profiled(lambda: [many.match(*batch) for batch in batches])
    result.figures = {"ratio": turns.ratio(of_many, of_few)}
    result.facts.append(f"The same {fine.total_rows:,} rows in both.")
    return result
