"""Workers and schedulers that go away: the step goes on with others, or waits for them, and loses nothing."""

from __future__ import annotations

import os
import signal

import pytest

from tests.matching.dask_process import DaskProcess
from tests.services.process import free_ports
from tests.step.outages import (
    RESUMED_WITHIN_S,
    THIRD,
    assert_all_went_well,
    broken,
    feed,
    wait_for_all,
    workers_of_this_process,
)
from xmatch_hats.matching import scheduling


# In every run a worker is killed between batches in `matching/test_crossmatcher`.
@pytest.mark.campaign
def test_a_worker_of_its_own_cluster_that_is_killed(make_world, sky):
    before = workers_of_this_process()
    world = make_world(WORKERS="2", CONSUME_MESSAGES="40")
    with world.running() as step:
        step.until(step.is_ready, "readiness")
        workers = workers_of_this_process() - before
        assert len(workers) == 2
        feed(world, sky, 0)
        step.until(lambda: step.batches >= 1, "a batch")
        feed(world, sky, 1)
        os.kill(workers.pop(), signal.SIGKILL)
        wait_for_all(world, step, 2 * THIRD)
        # All at once leave nobody to go on with, until their nannies have started others.
        for worker in workers_of_this_process() - before:
            os.kill(worker, signal.SIGKILL)
        batches = step.batches
        feed(world, sky, 2)
        step.until(lambda: step.batches > batches, "the next batch", RESUMED_WITHIN_S)
        wait_for_all(world, step, 3 * THIRD)
        step.until(step.is_ready, "readiness")
    assert_all_went_well(world, sky)
    assert not workers_of_this_process() - before


def test_a_scheduler_that_stops_and_starts(make_world, sky, monkeypatch):
    monkeypatch.setattr(scheduling, "CONNECT_SECONDS", 2.0)
    (port,) = free_ports(1)
    world = make_world(WORKERS=None, DASK_SCHEDULER=f"tcp://127.0.0.1:{port}")
    with world.running() as step:
        step.says("waiting for dask: ")
        step.until(lambda: "cannot connect" in step.waits_for()["dask"], "the reason")
        scheduler = DaskProcess(port)
        step.until(step.is_ready, "readiness")
        feed(world, sky, 0)
        step.until(lambda: step.batches >= 1, "a batch")
        scheduler.kill()
        with broken(step, "catalogue", "Dask scheduler", mend=lambda: started.append(DaskProcess(port))):
            started: list[DaskProcess] = []
            feed(world, sky, 1)
        feed(world, sky, 2)
        wait_for_all(world, step, 3 * THIRD)
    started[0].kill()
    assert_all_went_well(world, sky)
