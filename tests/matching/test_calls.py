"""Calls at workers: at their homes, quick, with nothing left behind, and made again where a worker dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import dask
import distributed
import numpy as np
import pyarrow as pa
import pytest

from tests.matching.dask_process import DaskProcess, add, die, fail, free_port, mark_and_sleep
from tests.matching.test_scheduling import worker_memory, worker_pids
from tests.matching.waiting import run_in_thread, wait_until
from xmatch_hats.errors import PartitionReadError, SystemFailure, UsageError
from xmatch_hats.matching import clusters, scheduling
from xmatch_hats.matching.calls import Call
from xmatch_hats.matching.scheduling import Scheduler


def ask_one(scheduler: Scheduler, function, *arguments, home=0):
    (value,) = scheduler.ask([Call(function, arguments, home)])
    return value


def pid(*_) -> int:
    return os.getpid()


def give(*arguments):
    return arguments


def set_of_modules() -> set[str]:
    return set(sys.modules)


def be_hard_to_pickle():
    class LocalError(Exception):
        pass

    raise LocalError("of a class that nobody can import")


def die_once(path: str) -> int:
    """Kill the worker, unless this has happened already."""
    try:
        with open(path, "x"):
            die()
    except FileExistsError:
        return os.getpid()


class TestThreads:
    def test_values_come_in_order_and_errors_as_they_are(self):
        with Scheduler(workers=0) as scheduler:
            assert scheduler.homes() >= 1
            assert scheduler.ask([]) == []
            assert scheduler.ask([Call(add, (n, 1), n) for n in range(20)]) == list(range(1, 21))
            with pytest.raises(ZeroDivisionError):
                ask_one(scheduler, fail, ZeroDivisionError())
            with pytest.raises(KeyError, match="of one"):
                scheduler.ask([Call(add, (1, 2)), Call(fail, (KeyError("of one"),))])
        for use in (scheduler.homes, lambda: ask_one(scheduler, add, 1)):
            with pytest.raises(UsageError, match="has been closed"):
                use()

    def test_one_call_needs_no_thread(self):
        with Scheduler(workers=0) as scheduler:
            assert ask_one(scheduler, threading.get_ident) == threading.get_ident()
            both = threading.Barrier(2, timeout=10)
            if scheduler.homes() > 1:
                assert scheduler.ask([Call(both.wait, ()), Call(both.wait, ())])


class TestOwnCluster:
    @pytest.fixture(scope="class")
    @classmethod
    def own(cls):
        # One death of a task, rather than four, and it is not tried again.
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}), Scheduler(workers=2) as own:
            yield own

    def test_workers_start_with_what_they_need_and_no_more(self, own):
        """They are forked from a process that has it; what is heavy and needed for graphs alone comes with these."""
        loaded = ask_one(own, set_of_modules)
        assert {"xmatch_hats.matching.resident.work", "distributed"} <= loaded
        assert not loaded & {"lsdb", "hats", "nested_pandas"}
        assert ask_one(own, os.environ.get, "OPENBLAS_NUM_THREADS") == "1"

    def test_calls_go_home(self, own):
        assert own.homes() == 2
        pids = worker_pids(own)
        expected = [pids[address] for address in sorted(pids)]
        for _ in range(3):
            homes = [1, 0, 1, 4, 7]
            assert own.ask([Call(pid, (), home) for home in homes]) == [expected[home % 2] for home in homes]

    def test_arrays_and_tables_travel(self, own):
        arrays = {"ra": np.linspace(0, 360, 10_000), "n": 3, "none": np.empty(0, dtype=np.int64)}
        table = pa.table({"x": [1, None, 3], "s": ["a", None, "c"]})
        # What a graph would take for a task or for the key of one.
        odd = (add, 1, 2), [("a", 1)], {"key": "a"}
        (back, same, *rest), again = own.ask([Call(give, (arrays, table, *odd)), Call(give, (table,), 1)])
        assert list(back) == list(arrays)
        assert all(np.array_equal(back[name], arrays[name]) for name in arrays)
        assert same.equals(table)
        assert again[0].equals(table)
        assert tuple(rest) == odd

    def test_nothing_stays_behind(self, own):
        client, state = own._connection.client, own._connection.cluster.scheduler
        for _ in range(30):
            own.ask([Call(bytes, (1000,), 0), Call(bytes, (1000,), 1)])
        assert not client.futures
        assert not state.tasks
        assert all(held == 0 for _, held in client.run(worker_memory).values())

    def test_errors_come_as_they_are(self, own):
        error = PartitionReadError("cannot be read", place="a/file", hint="verify it", value=3)
        with pytest.raises(PartitionReadError) as caught:
            ask_one(own, fail, error)
        assert str(caught.value) == "a/file: cannot be read (verify it)"
        for kind in (OSError, TimeoutError, RuntimeError, KeyError):
            with pytest.raises(kind, match="a call's own") as caught:
                own.ask([Call(add, (1, 2)), Call(fail, (kind("a call's own"),), 1)])
            assert type(caught.value) is kind
        with pytest.raises(RuntimeError, match="LocalError: of a class that nobody can import"):
            ask_one(own, be_hard_to_pickle)
        assert ask_one(own, add, 1, 2) == 3

    def test_a_worker_answers_its_scheduler_while_it_works(self, own, tmp_path):
        mark = tmp_path / "mark"
        answer = run_in_thread(lambda: ask_one(own, mark_and_sleep, str(mark), 0.7))
        assert wait_until(mark.exists)
        assert len(worker_pids(own)) == 2
        assert answer() == 0.7

    def test_several_clients_of_one_scheduler(self, own):
        address = own._connection.cluster.scheduler_address
        with Scheduler(address=address) as other, distributed.Client(address, set_as_default=False) as given:
            users = (own, other, Scheduler(given))
            assert len({ask_one(user, pid, home=1) for user in users}) == 1
            answers = [run_in_thread(lambda user=user: ask_one(user, add, 1, 2)) for user in users * 4]
            assert [answer() for answer in answers] == [3] * 12

    def test_calls_of_a_worker_that_dies_are_made_by_others(self, own, tmp_path, caplog):
        mark = tmp_path / "mark"
        calls = [Call(die_once, (str(mark),)), *(Call(add, (n, 1), n) for n in range(6))]
        _, *sums = own.ask(calls)
        assert sums == [1, 2, 3, 4, 5, 6]
        assert "of 7 calls were not answered by their Dask workers, and are made again" in caplog.text

    def test_a_worker_that_was_killed_between_two_calls(self, own):
        os.kill(ask_one(own, pid), signal.SIGKILL)
        assert own.ask([Call(add, (1, 2), 0), Call(add, (3, 4), 1)]) == [3, 7]

    def test_calls_that_kill_every_worker(self, own):
        with pytest.raises(SystemFailure, match="worker died") as caught:
            ask_one(own, die)
        assert caught.value.hint
        assert ask_one(own, add, 1, 2) == 3

    def test_a_call_under_way_ends_when_it_is_closed(self, own, tmp_path):
        mark = tmp_path / "mark"
        answer = run_in_thread(lambda: ask_one(own, mark_and_sleep, str(mark), 60.0))
        assert wait_until(mark.exists)
        started = time.monotonic()
        own.close()
        assert str(answer()) == "a cluster of 2 workers on this machine: it was closed meanwhile"
        assert time.monotonic() - started < clusters.PATIENCE_SECONDS


class TestAddress:
    def test_a_scheduler_that_goes_and_comes_back(self, tmp_path, monkeypatch):
        monkeypatch.setattr(scheduling, "CONNECT_SECONDS", 1.0)
        port, mark = free_port(), tmp_path / "mark"
        there = DaskProcess(port)
        with Scheduler(address=there.address) as scheduler:
            assert scheduler.homes() == 1
            answer = run_in_thread(lambda: ask_one(scheduler, mark_and_sleep, str(mark), 60.0))
            assert wait_until(mark.exists)
            there.kill()
            lost = answer()
            assert isinstance(lost, SystemFailure)
            assert str(lost).startswith(f"{there.address}: the Dask scheduler was lost: ")
            with pytest.raises(SystemFailure, match="cannot connect to the Dask scheduler"):
                ask_one(scheduler, add, 1, 2)
            there = DaskProcess(port)
            try:
                assert ask_one(scheduler, add, 1, 2) == 3
            finally:
                there.kill()

    def test_calls_that_nobody_is_left_to_make(self, tmp_path, monkeypatch):
        monkeypatch.setattr(clusters, "PATIENCE_SECONDS", 1.0)
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
            ) as cluster,
            Scheduler(address=cluster.scheduler_address) as scheduler,
        ):
            assert ask_one(scheduler, add, 1, 2) == 3
            cluster.scale(0)
            assert wait_until(lambda: scheduler.workers_alive() == 0)
            assert scheduler.homes() == 1
            with pytest.raises(SystemFailure, match="the Dask scheduler was lost: it has no workers"):
                ask_one(scheduler, add, 1, 2)
            cluster.scale(1)
            assert ask_one(scheduler, add, 1, 2) == 3

    def test_a_scheduler_without_this_software(self):
        there = DaskProcess(free_port(), without="xmatch_hats")
        try:
            with (
                Scheduler(address=there.address) as scheduler,
                pytest.raises(SystemFailure, match=r"lacks software.*install the same xmatch-hats"),
            ):
                ask_one(scheduler, fail, PartitionReadError("never raised"))
        finally:
            there.kill()
