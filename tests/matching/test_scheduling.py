"""Dask that outlives batches, with real schedulers and workers that are really killed."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import dask
import distributed  # noqa: F401, which sets the defaults that a test changes
import psutil
import pytest

from tests.conftest import on_ci
from tests.matching.dask_process import ROOT, DaskProcess, add, die, fail, free_port, mark_and_sleep
from tests.matching.waiting import run_in_thread, wait_until
from xmatch_hats.errors import ConfigError, PartitionReadError, SystemFailure, UsageError
from xmatch_hats.matching import clusters, scheduling
from xmatch_hats.matching.calls import Call
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.tls import TlsFiles

MEMORY = 600 << 20


def listeners() -> set[tuple[int, str, int]]:
    me = psutil.Process()
    return {
        (process.pid, *connection.laddr)
        for process in (me, *me.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def run_one(scheduler: Scheduler, *task):
    """Run one task under a new name."""
    key = uuid4().hex
    (value,) = scheduler.run({key: task}, [key])
    return value


def worker_pids(scheduler: Scheduler) -> dict[str, int]:
    return scheduler._connection.client.run(os.getpid)


def worker_pause(dask_worker) -> object:
    return dask_worker.memory_manager.memory_pause_fraction


def worker_memory(dask_worker) -> tuple[int, int]:
    return dask_worker.memory_manager.memory_limit, len(dask_worker.data)


def test_one_thing_to_run_on():
    with pytest.raises(UsageError, match="only one of"):
        Scheduler(address="tcp://127.0.0.1:1", workers=1)
    with pytest.raises(UsageError, match="at least 0"):
        Scheduler(workers=-1)
    with pytest.raises(UsageError, match="a memory limit is for workers that are started here"):
        Scheduler(address="tcp://127.0.0.1:1", memory_limit=MEMORY)
    with pytest.raises(UsageError, match="above 0 bytes"):
        Scheduler(workers=2, memory_limit=0)
    for address in ("nonsense", "", "tcp://nowhere", "tcp://a b:1"):
        with pytest.raises(UsageError, match=r"not the address of a Dask scheduler \(write tcp://HOST:PORT\)"):
            Scheduler(address=address)


def test_threads_of_this_process():
    with Scheduler(workers=0) as scheduler:
        scheduler.connect()
        assert scheduler.place == "threads of this process"
        assert scheduler.workers_alive() is None
        assert scheduler.run({"a": (add, 1, 2), "b": (add, "a", 3)}, ["b", "a"]) == [6, 3]
        with pytest.raises(ZeroDivisionError):
            run_one(scheduler, fail, ZeroDivisionError())
    with pytest.raises(UsageError, match="has been closed"):
        run_one(scheduler, add, 1, 2)


def _pool_of_arrow() -> str:
    import pyarrow as pa

    return pa.default_memory_pool().backend_name


class TestOwnCluster:
    """One cluster of two workers for all of these, as a step has one for all of its batches."""

    @pytest.fixture(scope="class")
    @classmethod
    def own(cls):
        before = listeners()
        # One death of a task, rather than four, and it is not tried again.
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            Scheduler(None, None, 2, memory_limit=MEMORY) as own,
        ):
            assert own.workers_alive() == 0
            own.connect()
            own.listeners = listeners() - before
            yield own

    def test_everything_listens_on_the_loopback_interface(self, own):
        pids = {pid for pid, _, _ in own.listeners}
        assert {os.getpid(), *worker_pids(own).values()} <= pids
        assert {host for _, host, _ in own.listeners} == {"127.0.0.1"}

    def test_nothing_of_a_graph_stays_behind(self, own):
        client = own._connection.client
        for _ in range(30):
            token = uuid4().hex
            graph = {(f"positions-{token}", i): (bytes, 1000 + i) for i in range(20)}
            assert [len(value) for value in own.run(graph, list(graph))] == list(range(1000, 1020))
        assert own._connection.client is client
        assert wait_until(lambda: not client.futures)
        state = own._connection.cluster.scheduler
        assert wait_until(lambda: not state.tasks and not state.task_groups)
        assert wait_until(lambda: all(held == 0 for _, held in client.run(worker_memory).values()))
        # These would grow with every graph, for as long as the process lives.
        assert len(state.task_prefixes) < 5
        assert "spans" not in state.extensions
        assert len(client.scheduler_comm.recent_message_log) <= 10

    def test_memory_is_bounded(self, own):
        assert {limit for limit, _ in own._connection.client.run(worker_memory).values()} == {MEMORY}
        # None of them would wait for memory that nobody gives back.
        assert set(own._connection.client.run(worker_pause).values()) == {False}

    def test_workers_take_memory_that_needs_no_clearing(self, own):
        assert set(own._connection.client.run(_pool_of_arrow).values()) == {"jemalloc"}

    def test_errors_of_tasks_come_as_they_are(self, own):
        error = PartitionReadError("cannot be read", place="a/file", hint="verify it", value=3)
        with pytest.raises(PartitionReadError) as caught:
            run_one(own, fail, error)
        assert str(caught.value) == "a/file: cannot be read (verify it)"
        assert caught.value.value == 3
        for kind in (OSError, TimeoutError, RuntimeError, KeyError):
            with pytest.raises(kind, match="a task's own") as caught:
                run_one(own, fail, kind("a task's own"))
            assert type(caught.value) is kind
        assert run_one(own, add, 1, 2) == 3

    def test_a_worker_that_dies_at_work_is_replaced(self, own, tmp_path):
        """The one that dies is not at fault: the graph is, and says so; the next one runs."""
        client = own._connection.client
        with pytest.raises(SystemFailure, match="worker died") as caught:
            run_one(own, die)
        assert caught.value.hint
        assert run_one(own, add, 1, 2) == 3
        assert wait_until(lambda: own.workers_alive() == 2)
        assert own._connection.client is client

    def test_a_worker_that_is_slow_to_come_back_is_not_given_up(self, own):
        """Dask's own clusters close its nanny for good after 15 s, less than a start takes on a busy machine."""
        with dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}):
            os.kill(next(iter(worker_pids(own).values())), signal.SIGKILL)
            assert wait_until(lambda: own.workers_alive() == 1)
            assert wait_until(lambda: own.workers_alive() == 2)

    def test_a_new_cluster_takes_the_place_of_a_dead_one(self, own, caplog):
        dead = own._connection.cluster
        dead.close()
        assert own.workers_alive() == 0
        with caplog.at_level(logging.WARNING):
            assert run_one(own, add, 1, 2) == 3
        assert own._connection.cluster is not dead
        assert own.workers_alive() > 0
        assert "connecting again to a cluster of 2 workers on this machine" in caplog.text

    def test_closing_ends_what_runs(self, own, tmp_path):
        mark = tmp_path / "mark"
        answer = run_in_thread(lambda: run_one(own, mark_and_sleep, str(mark), 60.0))
        assert wait_until(mark.exists)
        own.close()
        assert str(answer()) == "a cluster of 2 workers on this machine: it was closed meanwhile"
        assert own.workers_alive() == 0
        with pytest.raises(UsageError, match="has been closed"):
            own.connect()


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "started anew"])
def test_workers_end_with_a_process_that_is_killed(forked, tmp_path):
    # A socket's path has a hundred characters or so.
    folder = tmp_path if forked else tmp_path / ("long" * 30)
    folder.mkdir(exist_ok=True)
    environ = {**os.environ, "TMPDIR": str(folder)}
    code = (
        "import os, sys, time\n"
        "from xmatch_hats.matching.scheduling import Scheduler\n"
        "if __name__ == '__main__':\n"
        "    own = Scheduler(workers=1)\n"
        "    own.connect()\n"
        "    from tests.matching.test_scheduling import worker_memory\n"
        "    ((limit, _),) = own._connection.client.run(worker_memory).values()\n"
        "    ((pid),) = own._connection.client.run(os.getpid).values()\n"
        "    print(pid, limit, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, env=environ)
    try:
        worker, limit = map(int, process.stdout.readline().split())
        assert psutil.pid_exists(worker)
        # Unless told otherwise a worker has its share of the memory, never more than there is.
        assert 0 < limit <= psutil.virtual_memory().total
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert wait_until(lambda: not psutil.pid_exists(worker))


class TestAddress:
    def test_a_scheduler_that_goes_and_comes_back(self, tmp_path, monkeypatch):
        monkeypatch.setattr(scheduling, "CONNECT_SECONDS", 1.0)
        port, mark = free_port(), tmp_path / "mark"
        there = DaskProcess(port)
        with Scheduler(address=there.address) as scheduler:
            assert run_one(scheduler, add, 1, 2) == 3
            assert scheduler.workers_alive() == 1
            answer = run_in_thread(lambda: run_one(scheduler, mark_and_sleep, str(mark), 60.0))
            assert wait_until(mark.exists)
            there.kill()
            lost = answer()
            assert isinstance(lost, SystemFailure)
            assert str(lost) == f"{there.address}: the Dask scheduler was lost: scheduler connection lost"
            threads = set()
            for _ in range(4):
                with pytest.raises(SystemFailure, match="cannot connect to the Dask scheduler") as caught:
                    run_one(scheduler, add, 1, 2)
                threads.add(threading.active_count())
            assert caught.value.place == there.address
            assert caught.value.hint == "is it running, with workers?"
            # Whoever waits for a scheduler all night must not run out of threads and files.
            assert len(threads) == 1
            assert scheduler.workers_alive() == 0
            there = DaskProcess(port)
            try:
                assert run_one(scheduler, add, 1, 2) == 3
                assert scheduler.workers_alive() == 1
            finally:
                there.kill()
            # Between two graphs, a client notices by itself, and tries for as long as it was given to connect.
            assert wait_until(lambda: scheduler._connection.client.status == "closed")
            there = DaskProcess(port)
            try:
                assert run_one(scheduler, add, 1, 2) == 3
            finally:
                there.kill()

    def test_work_that_nobody_is_left_to_do(self, tmp_path, monkeypatch):
        from distributed import LocalCluster

        monkeypatch.setattr(scheduling, "CONNECT_SECONDS", 1.0)
        monkeypatch.setattr(clusters, "PATIENCE_SECONDS", 1.0)
        mark = tmp_path / "mark"
        with (
            LocalCluster(
                n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
            ) as cluster,
            Scheduler(address=cluster.scheduler_address) as scheduler,
        ):
            answer = run_in_thread(lambda: run_one(scheduler, mark_and_sleep, str(mark), 3.0))
            assert wait_until(mark.exists)
            cluster.scale(0)
            assert str(answer()) == f"{scheduler.place}: the Dask scheduler was lost: it has no workers"
            with pytest.raises(SystemFailure, match="cannot connect to the Dask scheduler: no worker within 1 s"):
                scheduler.connect()
            cluster.scale(1)
            assert run_one(scheduler, add, 1, 2) == 3

    def test_a_scheduler_without_this_software(self):
        there = DaskProcess(free_port(), without="xmatch_hats")
        try:
            with (
                Scheduler(address=there.address) as scheduler,
                pytest.raises(SystemFailure, match=r"lacks software.*install the same xmatch-hats"),
            ):
                run_one(scheduler, fail, PartitionReadError("never raised"))
        finally:
            there.kill()

    def test_a_given_client_that_was_lost(self):
        from distributed import Client

        there = DaskProcess(free_port())
        try:
            with Client(there.address, set_as_default=False) as client:
                scheduler = Scheduler(client)
                assert run_one(scheduler, add, 1, 2) == 3
                assert scheduler.workers_alive() == 1
                scheduler.close()
                assert client.status == "running"
                scheduler = Scheduler(client)
        finally:
            there.kill()
        assert scheduler.workers_alive() == 0
        with pytest.raises(SystemFailure, match=r"the Dask client that was given: it is closed.*open a new client"):
            run_one(scheduler, add, 1, 2)


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_authority(folder: Path) -> TlsFiles:
    """Certificate of an authority, and one that it signed, for this machine."""
    folder.mkdir()
    files = TlsFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    request, authority = folder / "request.pem", folder / "ca.key"
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj")
    openssl(*new, "/CN=authority", "-x509", "-days", "2", "-keyout", authority, "-out", files.ca)
    openssl(*new, "/CN=localhost", "-keyout", files.key, "-out", request)
    signing = ("x509", "-req", "-days", "2", "-in", request, "-CA", files.ca, "-CAkey", authority, "-CAcreateserial")
    openssl(*signing, "-out", files.cert)
    return files


class TestTls:
    @pytest.fixture(scope="class")
    @classmethod
    def files(cls, tmp_path_factory):
        if shutil.which("openssl") is None:
            assert not on_ci(), "openssl is not installed"
            pytest.skip("openssl, which makes the certificates, is not installed")
        return make_authority(tmp_path_factory.mktemp("tls") / "ours")

    def test_encrypted_work(self, files, monkeypatch):
        monkeypatch.setattr(scheduling, "CONNECT_SECONDS", 2.0)
        others = make_authority(files.ca.parent.parent / "others")
        there = DaskProcess(free_port(), (files.ca, files.cert, files.key))
        assert there.address.startswith("tls://")
        try:
            with Scheduler(address=there.address, tls=files) as scheduler:
                assert run_one(scheduler, add, 1, 2) == 3
                assert scheduler.ask([Call(add, (1, 2))]) == [3]
                assert scheduler.workers_alive() == 1
            with (
                Scheduler(address=there.address, tls=others) as scheduler,
                pytest.raises(SystemFailure, match="cannot connect to the Dask scheduler"),
            ):
                scheduler.connect()
            with (
                Scheduler(address=there.address.replace("tls://", "tcp://")) as scheduler,
                pytest.raises(SystemFailure, match="cannot connect to the Dask scheduler"),
            ):
                scheduler.connect()
        finally:
            there.kill()

    def test_files_that_cannot_be_used_are_named(self, files, tmp_path):
        def refused(ca=files.ca, cert=files.cert, key=files.key):
            with pytest.raises(ConfigError) as caught:
                Scheduler(address="tls://127.0.0.1:8786", tls=TlsFiles(ca, cert, key))
            return str(caught.value)

        nothing, text, locked = tmp_path / "nothing", tmp_path / "text", tmp_path / "locked"
        text.write_text("no certificate")
        openssl("rsa", "-in", files.key, "-aes256", "-passout", "pass:secret", "-out", locked)
        for name in ("ca", "cert", "key"):
            assert refused(**{name: nothing}) == f"{nothing}: cannot be read: No such file or directory"
        assert refused(ca=text) == f"{text}: holds no certificate of an authority in PEM format"
        assert refused(cert=text).startswith(f"{text}: is not the certificate of the key {files.key}")
        # Another certificate's key, and one that would ask for its passphrase on a terminal.
        for key in (files.ca.parent / "ca.key", locked):
            assert refused(key=key).startswith(f"{files.cert}: is not the certificate of the key {key}")

    def test_address_and_files_belong_together(self, files):
        with pytest.raises(UsageError, match="tls://a:1: a scheduler with TLS needs the files"):
            Scheduler(address="tls://a:1")
        with pytest.raises(UsageError, match="tcp://a:1: TLS files are for a scheduler whose address begins with tls"):
            Scheduler(address="tcp://a:1", tls=files)
        with pytest.raises(UsageError, match="TLS files are for a scheduler"):
            Scheduler(workers=2, tls=files)

    def test_three_settings_are_one(self):
        assert TlsFiles.of(None, None, None) is None
        assert TlsFiles.of("", "", "") is None
        assert TlsFiles.of("a", "b", "~/c") == TlsFiles(Path("a"), Path("b"), Path("~/c").expanduser())
        with pytest.raises(ConfigError, match="lacks the certificate and the key"):
            TlsFiles.of("a", None, "")
