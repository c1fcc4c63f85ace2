"""The run log, and how far a run is."""

from __future__ import annotations

import pytest

from xmatch_hats.bulk.runs import watch as module
from xmatch_hats.bulk.runs.task import Failure, Outcome
from xmatch_hats.bulk.runs.watch import Watch, read_log
from xmatch_hats.errors import OutputError


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(module, "monotonic", lambda: Clock.now)
    return Clock


def test_rate_and_time_left(clock):
    seen = []
    watch = Watch(tasks=10, size=1000, show=lambda progress: seen.append(progress.seconds_left))
    watch.begin("threads of this process")
    watch.skipped({"a": 100, "b": 100})
    assert seen == [None]
    clock.now += 2.0
    watch.done("c", 100, 0.5, "host:1")
    # What earlier runs did took no time of this one.
    assert watch.progress.rate == 50.0
    assert seen[-1] == 14.0
    clock.now += 2.0
    watch.failed("d", 100, Failure("cannot be read", 3))
    assert watch.progress.rate == 25.0
    assert (watch.progress.done, watch.progress.failed, watch.progress.size_done) == (3, 1, 400)


def test_nobody_knows_the_end(clock):
    watch = Watch()
    watch.begin("here")
    clock.now += 1.0
    watch.done("c", 100, 0.5, "host:1")
    assert watch.progress.rate == 100.0
    assert watch.progress.seconds_left is None


def test_a_log_tells_all_runs(tmp_path):
    path = tmp_path / "run.log.jsonl"
    watch = Watch(path, tasks=3, size=30, settings={"radius_arcsec": 1.5})
    watch.begin("tcp://there:1", "http://there:2/status")
    watch.workers(8)
    watch.done("a", 10, 0.25, "host:1")
    watch.retried("b", 1, "cannot be read", "host:2")
    # Killed in the midst of a line.
    with path.open("a") as file:
        file.write('{"time": "2024-')
    again = Watch(path, tasks=3, size=30)
    again.begin("here")
    again.skipped({"a": 10})
    again.failed("b", 10, Failure("cannot be read", 3, "trace"))
    again.end(Outcome({"a": {}, "c": {}}, ("a",), {"b": Failure("cannot be read", 3)}))
    events = read_log(path)
    assert [event["event"] for event in events] == [
        "begin", "workers", "done", "retried", "begin", "skipped", "failed", "end",
    ]  # fmt: skip
    begin, workers, done, retried, *_, skipped, failed, end = events
    assert begin["scheduler"] == "tcp://there:1"
    assert begin["dashboard"] == "http://there:2/status"
    assert begin["settings"] == {"radius_arcsec": 1.5}
    assert begin["software"]["xmatch-hats"]
    assert workers["slots"] == 8
    assert (done["task"], done["seconds"], done["worker"]) == ("a", 0.25, "host:1")
    assert (retried["attempts"], retried["reason"]) == (1, "cannot be read")
    assert skipped["tasks"] == ["a"]
    assert (failed["reason"], failed["attempts"], failed["trace"]) == ("cannot be read", 3, "trace")
    assert (end["done"], end["skipped"], end["failed"]) == (2, 1, 1)
    assert all(event["time"].endswith("+00:00") for event in events)


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        Watch(tmp_path / "none" / "log").begin("here")
