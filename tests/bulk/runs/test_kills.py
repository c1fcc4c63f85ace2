"""Runs that are killed from outside at random moments, and taken up each time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bulk.runs import works
from tests.bulk.runs.works import calls, slow_squares
from tests.matching.dask_process import ROOT
from tests.matching.waiting import wait_until
from tests.shared import full_size
from xmatch_hats.bulk.runs.dispatch import run_tasks
from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.bulk.runs.watch import Watch, read_log
from xmatch_hats.errors import OutputError
from xmatch_hats.matching.scheduling import Scheduler


@pytest.mark.parametrize(
    ("workers", "count", "kills"),
    [(0, 2000, 2), full_size(2, 6000, 20)],
    ids=["threads", "workers"],
)
def test_a_run_that_is_killed_again_and_again(tmp_path, workers, count, kills):
    chance = random.Random(20240229)
    ledger = Ledger(tmp_path / "ledger")
    command = [sys.executable, "-m", "tests.bulk.runs.killed_run", str(tmp_path), str(count), str(workers)]
    log = tmp_path / "log"
    for number in range(1, kills + 1):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        # Calls alone may be those of the one before, whose workers end a moment after it.
        assert wait_until(lambda number=number: log.exists() and begun(log) == number, 60)
        before = len(calls(tmp_path))
        assert wait_until(lambda before=before: len(calls(tmp_path)) > before, 60)
        time.sleep(chance.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = set(ledger.done())
    # Workers of a process that is gone end a moment later, in the midst of a task or after it.
    time.sleep(0.5 if workers else 0.0)
    counted = {name: calls(tmp_path).count(name[1:]) for name in done}
    assert 0 < len(done) < count
    with Scheduler(workers=0) as threads:
        outcome = run_tasks(slow_squares(count, tmp_path), ledger, threads, watch=Watch(log))
    assert outcome.done == {f"n{number}": {"square": number**2} for number in range(count)}
    assert set(outcome.skipped) >= done
    assert {name: calls(tmp_path).count(name[1:]) for name in done} == counted
    written = {int(path.stem): int(path.read_text()) for path in (tmp_path / "out").iterdir()}
    assert written == {number: number**2 for number in range(count)}
    assert begun(log) == kills + 1
    assert [event["event"] for event in read_log(log)].count("end") == 1


def begun(log: Path) -> int:
    """How many runs a log tells of."""
    return [event["event"] for event in read_log(log)].count("begin")


@contextmanager
def small_disk(folder: Path, size: str):
    """A file system of its own that is soon full."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_is_really_full(tmp_path):
    with small_disk(tmp_path / "disk", "2m") as disk, Scheduler(workers=0) as threads:
        tasks = [Task(f"n{number}", 100, works.write_block, (number, 100_000, disk)) for number in range(40)]
        log = disk / "log"
        with pytest.raises(OutputError, match=r"cannot be written: No space left on device \(make room"):
            run_tasks(tasks, Ledger(disk / "ledger"), threads, watch=Watch(log))
        ledger = Ledger(disk / "ledger")
        done = ledger.done()
        assert 5 < len(done) < 21
        assert ledger.set_aside() == {}
        # What is there is whole.
        assert {path.stat().st_size for path in (disk / "out").iterdir()} == {100_000}
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        outcome = run_tasks(tasks, ledger, threads, watch=Watch(log))
        assert len(outcome.done) == 40
        assert set(outcome.skipped) == set(done)
