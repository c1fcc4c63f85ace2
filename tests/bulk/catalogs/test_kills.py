"""Runs of the command that are killed from outside, and taken up; and workers of somebody's scheduler."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bulk.catalogs.test_run import data_of
from tests.bulk.runs.test_kills import small_disk
from tests.bulk.runs.test_lost_workers import by_hand, connected_workers
from tests.matching.dask_process import ROOT
from tests.matching.waiting import run_in_thread, wait_until
from tests.shared import full_size
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.runs.watch import read_log
from xmatch_hats.errors import OutputError
from xmatch_hats.matching.scheduling import Scheduler

COMMAND = [sys.executable, "-c", "import sys; from xmatch_hats.cli.app import run; sys.exit(run(sys.argv[1:]))"]


def done_in(folder: Path) -> int:
    """Units that are done below a folder that may be gone, or not be there yet."""
    return len(list(folder.glob("*/done/*/done/*.json")))


def killed_again_and_again(words, out, kills, units):
    """Kill a command after a few more units each time; then let it finish and give what it told."""
    chance = random.Random(17)
    folder = out.parent / f".{out.name}.matching"
    for _ in range(kills):
        goal = done_in(folder) + chance.randrange(1, max(2, units // kills))
        process = subprocess.Popen([*COMMAND, *words], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        assert wait_until(lambda goal=goal, process=process: done_in(folder) >= goal or process.poll() is not None, 120)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not out.exists()
    last = subprocess.run([*COMMAND, *words, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(last.stdout)


@pytest.mark.parametrize("kills", [2, full_size(20)])
def test_a_command_that_is_killed_again_and_again(pair, tmp_path, kills):
    sides = [str(pair.path(side, "fine")) for side in ("left", "right")]
    whole = crossmatch_catalogs(*sides, tmp_path / "whole", radius_arcsec=5.0, join="left", workers=0)
    words = ["bulk", "catalogs", *sides, "--radius", "5", "--join", "left", "--workers", "0"]
    told = killed_again_and_again([*words, "--out", str(tmp_path / "out")], tmp_path / "out", kills, whole.units)
    assert told["units_skipped"] >= kills
    assert {name: told[name] for name in ("rows", "left_rows", "matched", "units")} == {
        name: getattr(whole, name) for name in ("rows", "left_rows", "matched", "units")
    }
    assert data_of(tmp_path / "out") == data_of(tmp_path / "whole")
    log = read_log(tmp_path / "out" / "run.log.jsonl")
    done = [event["task"] for event in log if event["event"] == "done"]
    assert len(done) == len(set(done))


@pytest.mark.campaign
def test_a_scheduler_of_somebody_with_a_worker_that_is_killed(pair, tmp_path):
    """``dask scheduler`` and two ``dask worker``: the bytes of threads of this process."""
    sides = [pair.path(side, "fine") for side in ("left", "right")]
    crossmatch_catalogs(*sides, tmp_path / "whole", radius_arcsec=5.0, workers=0)
    with by_hand(2) as address, Scheduler(address=address) as scheduler:
        assert wait_until(lambda: connected_workers(scheduler) == 2, 60)
        answer = run_in_thread(
            lambda: crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=5.0, scheduler=scheduler)
        )
        folder = tmp_path / ".out.matching"
        assert wait_until(lambda: done_in(folder) >= 10, 120)
        (log,) = folder.glob("*/run.log.jsonl")
        # The log is told of a unit a little after its record is there.
        assert wait_until(lambda: [event for event in read_log(log) if event["event"] == "done"], 60)
        worker = next(event["worker"] for event in read_log(log) if event["event"] == "done")
        os.kill(int(worker.rpartition(":")[2]), signal.SIGKILL)
        answer()
        assert scheduler.workers_alive() == 1
    assert data_of(tmp_path / "out") == data_of(tmp_path / "whole")


def test_a_full_disk_stops_the_command_and_costs_nothing_that_is_done(pair, tmp_path):
    sides = [pair.path(side, "fine") for side in ("left", "right")]
    arguments = {"radius_arcsec": 20.0, "n_neighbors": None, "join": "left", "workers": 0}
    whole = crossmatch_catalogs(*sides, tmp_path / "whole", **arguments)
    with small_disk(tmp_path / "disk", "900k") as disk:
        with pytest.raises(OutputError, match=r"No space left on device.*run the same command again"):
            crossmatch_catalogs(*sides, disk / "out", **arguments)
        assert not (disk / "out").exists()
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        again = crossmatch_catalogs(*sides, disk / "out", **arguments)
        assert again.rows == whole.rows
        assert data_of(disk / "out") == data_of(tmp_path / "whole")
