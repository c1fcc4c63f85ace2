"""Cost against batch size, radius, workers, catalogue size and number of partitions; tables against their size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import skies
from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, cluster, xmatch_columns
from benchmarks.cases import tables
from benchmarks.cases.batch import profile_inside
from benchmarks.peers import ours
from benchmarks.peers.lsdb_plain import PlainLsdb, batch_answer
from benchmarks.timing import Turns, Way, in_turn
from xmatch_hats.catalogs.copy import LocalCopy

OURS, PLAIN = "xmatch-hats", "plain LSDB"
Curve = dict[str, list[tuple[float, float]]]
"""By method, pairs of abscissa and median seconds."""


def curves(bench: Bench) -> CaseResult:
    """Time what the charts show: fewer rounds than the cases have, over a range of each variable.

    At a tenth of the size only batches and tables, which take little.
    """
    result = CaseResult("curves")
    copy = skies.with_side_copy(skies.sky_copy(bench.size))
    with cluster() as client:
        run = _Runner(bench, client, bench.rounds(2, 1), result)
        sizes = (1, 10, 100, 1000, 10_000, 100_000) if bench.full else (1, 10_000)
        run.curve("batch size", [(n, copy, n, RADIUS_ARCSEC) for n in sizes])
        if bench.full:
            _of_catalogs(bench, run, copy)
    for workers in (1, 2) if bench.full else ():
        with cluster(workers) as client:
            run = _Runner(bench, client, bench.rounds(2, 1), result)
            run.curve("workers", [(workers, copy, 10_000, RADIUS_ARCSEC)])
    _add(result, "table rows", _table_curve(bench, result))
    largest = skies.AlertMaker(bench.size, sizes[-1])
    result.profile = f"Three batches of {sizes[-1]:,}, in one thread, workers' part included:\n"
    result.profile += profile_inside(copy, xmatch_columns(), [largest(number) for number in range(3)])
    return result


def _of_catalogs(bench: Bench, run: _Runner, copy: LocalCopy) -> None:
    """Radius, and catalogues of growing size and number of partitions."""
    run.curve("radius", [(radius, copy, 1000, radius) for radius in (0.1, 0.3, 1.0, 3.0, 9.0)])
    growing = [skies.with_side_copy(made) for made in (*smaller_catalogs(), copy)]
    run.curve("catalogue rows", [(made.total_rows, made, 1000, RADIUS_ARCSEC) for made in growing])
    layouts = [copy, skies.with_side_copy(skies.fine_copy(bench.size))]
    run.curve("partitions", [(len(made.partitions), made, 1000, RADIUS_ARCSEC) for made in layouts])


class _Runner:
    """Runs batches on one cluster, ours and plain LSDB in turn."""

    def __init__(self, bench: Bench, client: Any, rounds: int, result: CaseResult) -> None:
        self._bench, self._client, self._rounds, self._result = bench, client, rounds, result

    def curve(self, name: str, points: Sequence[tuple[float, LocalCopy, int, float]]) -> None:
        """Measure abscissa, catalogue, alerts and radius of each point."""
        print(f"  {name}", flush=True)
        for abscissa, copy, alerts, radius in points:
            turns = self._turns(copy, alerts, radius)
            self._result.differences += turns.differences
            self._result.compared += turns.compared
            _add(self._result, name, {way: [(abscissa, seen.median)] for way, seen in turns.timings.items()})

    def _turns(self, copy: LocalCopy, alerts: int, radius: float) -> Turns:
        columns = xmatch_columns()
        with ours.matcher(copy, columns, radius, client=self._client) as engine:
            plain = PlainLsdb(copy.path, columns, radius)
            ways = [
                Way(OURS, lambda batch: engine.match(*batch), ours.batch_answer, repeats=3),
                Way(PLAIN, plain.match, batch_answer),
            ]
            make = skies.AlertMaker(self._bench.size, alerts)
            return in_turn(
                ways, make, rounds=self._rounds, warm_ups=1, radius_arcsec=radius, watched=False, say=_silent
            )


def _table_curve(bench: Bench, result: CaseResult) -> Curve:
    """Time every method on tables of growing size, the left a quarter of the right."""
    curve: Curve = {}
    with TemporaryDirectory(prefix="curves-", dir=skies.cache()) as name:
        for rows in table_sizes(bench):
            files = tables.make_tables(rows // 4, rows)
            try:
                turns = tables.time_tables(files, Path(name), rounds=1, for_curve=True, all_peers=bench.full)
            except (RuntimeError, MemoryError) as error:
                result.facts.append(f"Tables of {rows:,} rows were too large for one of the methods: {error}.")
                break
            result.differences += turns.differences
            for way, seen in turns.timings.items():
                curve.setdefault(way, []).append((rows, seen.median))
    return curve


def table_sizes(bench: Bench) -> tuple[int, ...]:
    """Rows of the right tables."""
    return (500_000, 1_000_000, 2_000_000, 4_000_000) if bench.full else (100_000, 200_000)


def smaller_catalogs() -> list[LocalCopy]:
    """Catalogues of growing size that hold the exposure's field, or most of it."""
    return [skies.fields_copy(2), skies.sky_copy(skies.TENTH), skies.fields_copy(6)]


def _add(result: CaseResult, name: str, curve: Curve) -> None:
    there = result.ways.setdefault(name, {})
    for way, points in curve.items():
        there.setdefault(way, []).extend(points)


def _silent(_text: str) -> None:
    pass
