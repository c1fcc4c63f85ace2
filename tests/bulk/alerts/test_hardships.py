"""Workers that die, disks that are full: the same bytes in the end, and never half of something."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.bulk.alerts.nights import write_archive
from tests.bulk.alerts.test_run import run
from tests.bulk.runs.test_kills import small_disk
from tests.bulk.runs.test_lost_workers import by_hand, connected_workers
from tests.folders import contents
from tests.matching.waiting import run_in_thread, wait_until
from xmatch_hats.bulk.runs.watch import read_log
from xmatch_hats.errors import OutputError
from xmatch_hats.matching.scheduling import Scheduler


@pytest.fixture(scope="module")
def long_night(sky, tmp_path_factory):
    """All alerts of the sky four times: ten slices."""
    packets = list(sky.packets())
    members = [(f"{again}/{name}", data) for again in range(4) for name, data in packets]
    return write_archive(tmp_path_factory.mktemp("long") / "ztf_public_20180619.tar.gz", members)


@pytest.fixture(scope="module")
def calm(long_night, sky, tmp_path_factory):
    (report,) = run([long_night], sky.catalog, tmp_path_factory.mktemp("calm"), kind="parquet")
    return report


def data_of(report) -> dict[str, bytes]:
    return {name: data for name, data in contents(report.path).items() if name.endswith((".parquet", "summary.json"))}


# In every run such a worker is killed in `bulk/runs/test_lost_workers`.
@pytest.mark.campaign
def test_a_worker_that_is_killed_half_way(calm, long_night, sky, tmp_path):
    out = tmp_path / "out"
    log = out / "night=20180619" / f".{calm.path.name}.matching" / "run.log.jsonl"
    with by_hand(2) as address, Scheduler(address=address) as scheduler:
        assert wait_until(lambda: connected_workers(scheduler) == 2, 60)
        answer = run_in_thread(lambda: run([long_night], sky.catalog, out, kind="parquet", scheduler=scheduler))
        done = wait_until(
            lambda: [event for event in read_log(log) if event["event"] == "done"] if log.exists() else 0, 90
        )
        victim = int(done[0]["worker"].rpartition(":")[2])
        os.kill(victim, signal.SIGKILL)
        (report,) = answer()
        assert wait_until(lambda: scheduler.workers_alive() == 1, 30)
    assert report.is_whole
    assert data_of(report) == data_of(calm)
    events = [event for event in read_log(report.path / "_bulk" / "run.log.jsonl") if event["event"] == "done"]
    assert len(events) == 10
    assert len({event["worker"] for event in events}) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_is_full(calm, long_night, sky, tmp_path):
    packets = tmp_path / "disk" / "packets"
    with small_disk(tmp_path / "disk", "1500k") as disk:
        with pytest.raises(OutputError, match="cannot be written: No space left on device"):
            run([long_night], sky.catalog, disk / "out", kind="parquet", packets=packets)
        assert not list(disk.glob("out/night=*/archive=*"))
        assert not packets.exists() or not list(packets.iterdir())
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        said: list[str] = []
        (report,) = run([long_night], sky.catalog, disk / "out", kind="parquet", packets=packets, said=said)
        assert any("slices were done already" in line for line in said)
        assert data_of(report) == data_of(calm)
        assert len(list(Path(packets).iterdir())) == 1
