"""Calls handed to workers one by one, in threads and on clusters."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import dask
import distributed  # noqa: F401, which sets the defaults that a test changes
import pytest

from tests.matching.dask_process import DaskProcess, add, die, fail, free_port, mark_and_sleep
from tests.matching.waiting import run_in_thread, wait_until
from xmatch_hats.errors import SystemFailure, UsageError
from xmatch_hats.matching import clusters, streaming
from xmatch_hats.matching.scheduling import Scheduler


def collect(stream, count):
    """Ends of so many calls, by their numbers."""
    ended = {}
    while len(ended) < count:
        ended |= {end.number: end for end in stream.wait()}
    return ended


@pytest.fixture(scope="module")
def own():
    # One death of a call, rather than four.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        Scheduler(workers=2, dashboard=True) as scheduler,
    ):
        scheduler.connect()
        yield scheduler


@pytest.fixture(params=["threads", "own"])
def scheduler(request):
    if request.param == "own":
        yield request.getfixturevalue("own")
        return
    with Scheduler(workers=0) as threads:
        yield threads


def test_values_and_errors(scheduler):
    with scheduler.stream() as stream:
        assert stream.wait() == []
        assert stream.slots() == (scheduler.workers_alive() or scheduler.homes())
        numbers = [stream.submit(add, number, 1) for number in range(20)]
        bad = stream.submit(fail, KeyError("a call's own"))
        ended = collect(stream, 21)
        # Others are handed over while the stream goes on.
        late = stream.submit(add, 1000, 1)
        assert collect(stream, 1)[late].value == 1001
    assert [ended[number].value for number in numbers] == list(range(1, 21))
    assert isinstance(ended[bad].error, KeyError)
    assert not ended[bad].killed
    assert len(set(numbers)) == 20


def test_what_is_left_is_given_up(scheduler, tmp_path):
    before = threading.active_count()
    for _ in range(3):
        with scheduler.stream() as stream:
            for number in range(30):
                stream.submit(mark_and_sleep, str(tmp_path / str(number)), 0.02)
            stream.wait()
    if scheduler.workers_alive():
        assert wait_until(lambda: not scheduler._connection.client.futures)
    assert threading.active_count() <= before
    assert len(list(tmp_path.iterdir())) < 30 or scheduler.workers_alive()


def test_a_dashboard_where_there_is_one(scheduler):
    if scheduler.workers_alive():
        assert scheduler.dashboard.startswith("http://127.0.0.1:")
    else:
        assert scheduler.dashboard is None


def test_a_closed_scheduler_opens_no_stream():
    scheduler = Scheduler(workers=0)
    scheduler.close()
    with pytest.raises(UsageError, match="has been closed"), scheduler.stream():
        pass


class TestDeaths:
    def test_a_call_that_kills_is_told(self, own):
        with own.stream() as stream:
            number = stream.submit(die)
            end = collect(stream, 1)[number]
            assert end.killed
            assert wait_until(lambda: own.workers_alive() == 2)
            number = stream.submit(add, 1, 2)
            assert collect(stream, 1)[number].value == 3

    def test_another_worker_makes_the_call_of_one_that_is_killed(self, own, tmp_path):
        mark = tmp_path / "mark"
        own._connection.cluster.scheduler.allowed_failures = 3
        with own.stream() as stream:
            number = stream.submit(mark_and_sleep, str(mark), 1.0)
            assert wait_until(lambda: mark.exists() and mark.read_text())
            os.kill(int(mark.read_text()), signal.SIGKILL)
            end = collect(stream, 1)[number]
        assert (end.value, end.error) == (1.0, None)

    @pytest.fixture
    def slow(self, own, monkeypatch):
        """The first value to be asked for is not brought, as from a worker that has died and is looked for."""
        client = own._connection.client
        gather, asked = client.gather, []

        def first_never(future, **options):
            asked.append(future)
            return asyncio.sleep(600) if len(asked) == 1 else gather(future, **options)

        monkeypatch.setattr(client, "gather", first_never)
        return asked

    def test_nobody_waits_for_a_value_that_is_looked_for(self, own, slow):
        with own.stream() as stream:
            first = stream.submit(add, 1, 1)
            assert wait_until(lambda: stream._calls[first].done())
            numbers = [stream.submit(add, number, 1) for number in range(3)]
            ended = run_in_thread(lambda: collect(stream, 3))()
        assert sorted(ended) == numbers
        assert len(slow) == 4

    def test_a_value_that_went_with_its_worker_is_made_again(self, own, slow, monkeypatch):
        monkeypatch.setattr(streaming, "LATE_SECONDS", 1.0)
        with own.stream() as stream:
            number = stream.submit(os.getpid)
            ended = run_in_thread(lambda: collect(stream, 1))
            assert wait_until(lambda: slow)
            client = own._connection.client
            ((worker,),) = client.who_has(slow).values()
            (pid,) = client.run(os.getpid, workers=[worker]).values()
            os.kill(pid, signal.SIGKILL)
            end = ended()[number]
        assert end.error is None
        assert end.value != pid

    def test_a_scheduler_that_is_lost(self, tmp_path, monkeypatch):
        monkeypatch.setattr(clusters, "PATIENCE_SECONDS", 1.0)
        there = DaskProcess(free_port())
        mark = tmp_path / "mark"
        with Scheduler(address=there.address) as scheduler:
            assert scheduler.dashboard is None

            def lose_it():
                with scheduler.stream() as stream:
                    stream.submit(mark_and_sleep, str(mark), 60.0)
                    assert wait_until(mark.exists)
                    there.kill()
                    stream.wait()

            with pytest.raises(SystemFailure, match="the Dask scheduler was lost"):
                lose_it()
