"""Workers that are killed from outside, of a cluster of our own and of one that was started by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import dask
import distributed  # noqa: F401, which sets the defaults that a test changes
import pytest

from tests.bulk.runs import works
from tests.bulk.runs.works import calls, squares
from tests.matching.dask_process import ROOT, free_port
from tests.matching.waiting import run_in_thread, wait_until
from xmatch_hats.bulk.runs.dispatch import run_tasks
from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.bulk.runs.watch import Watch, read_log
from xmatch_hats.errors import OutputError, PartitionReadError, SystemFailure
from xmatch_hats.matching import clusters
from xmatch_hats.matching.scheduling import Scheduler


def holding(count: int, folder: Path) -> list[Task]:
    """Tasks that go on when the test says so."""
    return [Task(f"n{number}", 100, works.hold, (number, folder)) for number in range(count)]


def holders(folder: Path) -> list[tuple[int, int]]:
    """Numbers of the tasks that have begun, and the processes that have them, in order."""
    path = folder / "holders"
    return [tuple(map(int, word.split(":"))) for word in path.read_text().split()] if path.exists() else []


def kill_one_and_go_on(scheduler: Scheduler, folder: Path, count: int, log: Path):
    """Run tasks and kill the worker of one; give what came of it, the task that was lost, and the process."""
    assert wait_until(lambda: connected_workers(scheduler) == 2, 60)
    answer = run_in_thread(
        lambda: run_tasks(holding(count, folder), Ledger(folder / "ledger"), scheduler, watch=Watch(log))
    )
    assert wait_until(lambda: len({pid for _, pid in holders(folder)}) == 2)
    lost, pid = holders(folder)[0]
    os.kill(pid, signal.SIGKILL)
    (folder / "go").touch()
    return answer(), lost, pid


class TestOwnCluster:
    @pytest.fixture(scope="class")
    @classmethod
    def own(cls):
        # Two deaths of a task, rather than four.
        with dask.config.set({"distributed.scheduler.allowed-failures": 1}), Scheduler(workers=2) as own:
            own.connect()
            yield own

    def test_the_same_as_in_threads(self, own, tmp_path):
        bad = Task("n7", 100, works.unreadable, ("Norder=1/Npix=7.parquet", tmp_path / "a"))
        outcome = run_tasks(squares(300, tmp_path / "a", n7=bad), Ledger(tmp_path / "a" / "ledger"), own)
        with Scheduler(workers=0) as threads:
            same = run_tasks(squares(300, tmp_path / "a", n7=bad), Ledger(tmp_path / "b" / "ledger"), threads)
        assert outcome.done == same.done
        assert outcome.failed["n7"].reason == same.failed["n7"].reason
        # Small tasks travelled together, and each has its own record all the same.
        assert len(list((tmp_path / "a" / "ledger" / "done").iterdir())) == 299
        assert own._connection.client.futures == {}

    def test_errors_that_stop(self, own, tmp_path):
        full = Task("n3", 100, works.full_disk, (tmp_path,))
        with pytest.raises(OutputError, match="No space left on device"):
            run_tasks(squares(50, tmp_path, n3=full), Ledger(tmp_path / "ledger"), own)
        bad = Task("n3", 100, works.unreadable, ("here", tmp_path))
        with pytest.raises(PartitionReadError):
            run_tasks([bad], Ledger(tmp_path / "other"), own, stop_on=(PartitionReadError,))
        assert wait_until(lambda: not own._connection.client.futures)

    def test_a_worker_that_is_killed_costs_its_task_again(self, own, tmp_path):
        outcome, lost, pid = kill_one_and_go_on(own, tmp_path, 6, tmp_path / "log")
        assert outcome.done == {f"n{number}": {"square": number**2} for number in range(6)}
        assert outcome.failed == {}
        begun = holders(tmp_path)
        assert [number for number, _ in begun].count(lost) == 2
        assert {owner for number, owner in begun[2:]} & {pid} == set()
        assert sorted(map(int, calls(tmp_path))) == list(range(6))
        assert wait_until(lambda: own.workers_alive() == 2)

    def test_a_task_that_kills_is_set_aside_and_its_neighbours_are_not(self, own, tmp_path):
        deadly = Task("n4", 100, works.kill_worker, (tmp_path,))
        log = tmp_path / "log"
        outcome = run_tasks(squares(12, tmp_path, n4=deadly), Ledger(tmp_path / "ledger"), own, watch=Watch(log))
        assert list(outcome.failed) == ["n4"]
        assert "workers died of it" in outcome.failed["n4"].reason
        assert set(outcome.done) == {f"n{number}" for number in range(12)} - {"n4"}
        # Twice among others, twice alone.
        assert calls(tmp_path).count("kill_worker") == 4
        events = [event["event"] for event in read_log(log)]
        assert events.count("failed") == 1
        assert events[-1] == "end"

    def test_a_cluster_that_is_lost(self, own, tmp_path):
        answer = run_in_thread(lambda: run_tasks(holding(4, tmp_path), Ledger(tmp_path / "ledger"), own))
        assert wait_until(lambda: holders(tmp_path), 60)
        own._connection.cluster.close()
        lost = answer()
        assert isinstance(lost, SystemFailure)
        assert "run the same command again" in str(lost)
        (tmp_path / "go").touch()
        outcome = run_tasks(holding(4, tmp_path), Ledger(tmp_path / "ledger"), own)
        assert len(outcome.done) == 4
        assert outcome.failed == {}


@contextmanager
def by_hand(workers: int):
    """`dask scheduler` and `dask worker` as people start them; gives the address."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    # Without a nanny, a worker that is killed stays away.
    worker = ["worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    processes = []
    try:
        for words in [scheduler, *[worker] * workers]:
            command = [sys.executable, "-m", "dask", *words]
            processes.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        yield address
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def address():
    with by_hand(2) as address, Scheduler(address=address) as scheduler:
        assert wait_until(lambda: connected_workers(scheduler) == 2, 60)
        yield address


def test_a_run_that_is_killed_on_a_cluster_that_goes_on(address, tmp_path):
    command = [sys.executable, "-m", "tests.bulk.runs.killed_run", str(tmp_path), "300", address]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: len(calls(tmp_path)) > 50, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ledger, log = Ledger(tmp_path / "ledger"), tmp_path / "log"
    done = set(ledger.done())
    with Scheduler(address=address) as scheduler:
        outcome = run_tasks(works.slow_squares(300, tmp_path), ledger, scheduler, watch=Watch(log))
    assert outcome.done == {f"n{number}": {"square": number**2} for number in range(300)}
    assert 0 < len(done) <= len(outcome.skipped) < 300
    assert all(calls(tmp_path).count(name[1:]) == 1 for name in done)


def test_workers_that_were_started_by_hand_are_killed_one_by_one(address, tmp_path, monkeypatch):
    """The last of these: nobody is left in the end."""
    monkeypatch.setattr(clusters, "PATIENCE_SECONDS", 1.0)
    log = tmp_path / "log"
    with Scheduler(address=address) as scheduler:
        outcome, lost, pid = kill_one_and_go_on(scheduler, tmp_path, 8, log)
        assert scheduler.workers_alive() == 1
        other = tmp_path / "other"
        answer = run_in_thread(lambda: run_tasks(holding(4, other), Ledger(other / "ledger"), scheduler))
        assert wait_until(lambda: holders(other))
        os.kill(holders(other)[0][1], signal.SIGKILL)
        lost_all = answer()
    assert isinstance(lost_all, SystemFailure)
    assert str(lost_all).endswith("it has no workers (run the same command again: what is done is kept)")
    assert outcome.done == {f"n{number}": {"square": number**2} for number in range(8)}
    assert outcome.failed == {}
    assert sorted(map(int, calls(tmp_path))) == list(range(8))
    begun = holders(tmp_path)
    assert [number for number, _ in begun].count(lost) == 2
    assert len({owner for _, owner in begun}) == 2
    assert pid not in {owner for _, owner in begun[2:]}
    begin = read_log(log)[0]
    assert begin["scheduler"] == address
    assert begin["dashboard"] is None


def connected_workers(scheduler: Scheduler) -> int:
    try:
        scheduler.connect()
    except SystemFailure:
        return 0
    return scheduler.workers_alive()
