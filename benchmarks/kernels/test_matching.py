"""Matching: candidates, separations, ranks, and what a batch asks of Dask."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest

from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.crossmatcher import Crossmatcher
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.sorted import SortedSky, match_sorted

NEAREST = MatchRule(1.0)


@pytest.fixture(scope="session")
def sorted_sky(sky):
    return SortedSky.from_positions(*sky)


@pytest.mark.parametrize("count", [1, 1000, 100_000])
def test_sorted_nearest(benchmark, sorted_sky, alerts, count):
    ra, dec = alerts(count)
    index = cells_of(ra, dec)
    order = np.argsort(index, kind="stable")
    ra, dec, index = ra[order], dec[order], index[order]
    pairs = benchmark(match_sorted, ra, dec, sorted_sky, NEAREST, index=index)
    assert len(pairs) >= count // 3


@pytest.mark.parametrize("radius", [0.1, 10.0])
def test_sorted_all_in_radius(benchmark, sorted_sky, alerts, radius):
    ra, dec = alerts(10_000)
    pairs = benchmark(match_sorted, ra, dec, sorted_sky, MatchRule(radius, None))
    assert len(pairs) > 0


def test_spatial_index(benchmark, sky):
    index = benchmark(cells_of, *sky)
    assert len(index) == len(sky[0])


def test_sort_a_sky(benchmark, sky):
    found = benchmark(SortedSky.from_positions, *sky)
    assert np.all(np.diff(found.index) >= 0)


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize("engine", ["resident", "lsdb"])
def test_batch_in_this_process(benchmark, copy, alerts, engine, count):
    """Beside the time: how many messages and tasks a batch makes, which no noise of the machine changes."""
    batch = alerts(count)
    asked: list[int] = []
    real_ask, real_run = Scheduler.ask, Scheduler.run

    def ask(self, calls):
        asked.append(len(calls))
        return real_ask(self, calls)

    def run(self, graph, keys):
        asked.append(len(graph))
        return real_run(self, graph, keys)

    with Crossmatcher([copy], engine=engine, workers=0) as matcher:
        homes = matcher._scheduler.homes()
        with patch.object(Scheduler, "ask", ask), patch.object(Scheduler, "run", run):
            matcher.match(*batch)
            tasks = sum(asked)
        benchmark(matcher.match, *batch)
    benchmark.extra_info["tasks"] = tasks
    if engine == "resident":
        assert tasks <= homes, "more than one message for each worker and batch"
