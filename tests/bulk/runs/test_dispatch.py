"""Tasks in threads of this process: done once, tried again, set aside, stopped, resumed."""

from __future__ import annotations

import threading

import pytest

from tests.bulk.runs import works
from tests.bulk.runs.works import calls, squares
from xmatch_hats.bulk.runs import dispatch
from xmatch_hats.bulk.runs.dispatch import run_tasks
from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.task import Failure, Task
from xmatch_hats.bulk.runs.watch import Watch, read_log
from xmatch_hats.errors import OutputError, PartitionReadError, SystemFailure, UsageError
from xmatch_hats.matching.scheduling import Scheduler


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture(scope="module")
def threads():
    with Scheduler(workers=0) as scheduler:
        yield scheduler


def test_all_are_done_once(tmp_path, ledger, threads):
    outcome = run_tasks(squares(200, tmp_path), ledger, threads)
    assert outcome.done == {f"n{number}": {"square": number**2} for number in range(200)}
    assert list(outcome.done) == [f"n{number}" for number in range(200)]
    assert outcome.skipped == ()
    assert outcome.failed == {}
    assert sorted(map(int, calls(tmp_path))) == list(range(200))
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        f"{number}.txt": str(number**2) for number in range(200)
    }
    assert ledger.done() == outcome.done


def test_nothing_to_do(ledger, threads):
    outcome = run_tasks([], ledger, threads)
    assert (outcome.done, outcome.skipped, outcome.failed) == ({}, (), {})


def test_a_resume_does_the_rest_and_says_what_it_skipped(tmp_path, ledger, threads):
    run_tasks(squares(30, tmp_path), ledger, threads)
    # The arguments of what is done need not be made.
    bare = [Task(task.name, task.size, task.work) for task in squares(30, tmp_path)]
    log = tmp_path / "run.log.jsonl"
    outcome = run_tasks([*bare, *squares(50, tmp_path)[30:]], ledger, threads, watch=Watch(log))
    assert list(outcome.done) == [f"n{number}" for number in range(50)]
    assert outcome.skipped == tuple(f"n{number}" for number in range(30))
    assert sorted(map(int, calls(tmp_path))) == list(range(50))
    assert [event["tasks"] for event in read_log(log) if event["event"] == "skipped"] == [list(outcome.skipped)]


@pytest.mark.parametrize("damage", [b"", b'{"name": "n3", "reco', b"[]", b'{"name": "n4", "record": {}}', b"\xff\x00"])
def test_a_damaged_record_is_none(tmp_path, ledger, threads, damage):
    run_tasks(squares(6, tmp_path), ledger, threads)
    (ledger.folder / "done" / "n3.json").write_bytes(damage)
    outcome = run_tasks(squares(6, tmp_path), ledger, threads)
    assert "n3" not in outcome.skipped
    assert len(outcome.skipped) == 5
    assert outcome.done["n3"] == {"square": 9}
    assert calls(tmp_path).count("3") == 2


def test_what_fails_is_tried_again_and_then_set_aside(tmp_path, ledger, threads):
    bad = Task("n2", 100, works.unreadable, ("Norder=1/Npix=7.parquet", tmp_path))
    late = Task("n4", 100, works.fail_until, (2, tmp_path))
    odd = Task("n5", 100, works.not_json, (tmp_path,))
    log = tmp_path / "run.log.jsonl"
    watch = Watch(log, tasks=9)
    outcome = run_tasks(squares(9, tmp_path, n2=bad, n4=late, n5=odd), ledger, threads, watch=watch)
    assert outcome.done == {f"n{number}": {"square": number**2} for number in (0, 1, 3, 6, 7, 8)} | {"n4": {"tries": 3}}
    assert list(outcome.failed) == ["n2", "n5"]
    assert outcome.failed["n2"].reason == "Norder=1/Npix=7.parquet: cannot be read: torn"
    assert outcome.failed["n2"].attempts == 3
    assert "unreadable" in outcome.failed["n2"].trace
    assert "not JSON serializable" in outcome.failed["n5"].reason
    assert calls(tmp_path).count("unreadable") == 3
    assert ledger.set_aside() == outcome.failed
    events = read_log(log)
    assert [event["attempts"] for event in events if event["event"] == "retried" and event["task"] == "n4"] == [1, 2]
    assert [event["task"] for event in events if event["event"] == "failed"] != []
    assert events[-1].items() >= {"event": "end", "done": 7, "skipped": 0, "failed": 2}.items()
    assert (watch.progress.done, watch.progress.failed, watch.progress.tasks) == (7, 2, 9)


def test_what_was_set_aside_is_tried_anew(tmp_path, ledger, threads):
    bad = Task("n1", 100, works.unreadable, ("here", tmp_path))
    run_tasks(squares(3, tmp_path, n1=bad), ledger, threads, attempts=1)
    assert ledger.set_aside() == {"n1": Failure("here: cannot be read: torn", 1, ledger.set_aside()["n1"].trace)}
    outcome = run_tasks(squares(3, tmp_path), ledger, threads)
    assert outcome.failed == ledger.set_aside() == {}
    assert outcome.skipped == ("n0", "n2")


def test_a_full_disk_stops_the_run(tmp_path, ledger, threads):
    full = Task("n3", 100, works.full_disk, (tmp_path,))
    log = tmp_path / "run.log.jsonl"
    with pytest.raises(OutputError, match=r"part.parquet: cannot be written: No space left on device \(make room"):
        run_tasks(squares(500, tmp_path, n3=full), ledger, threads, watch=Watch(log))
    assert ledger.set_aside() == {}
    assert 3 <= len(ledger.done()) < 499
    assert read_log(log)[-1]["event"] == "broken off"
    outcome = run_tasks(squares(500, tmp_path), ledger, threads)
    assert len(outcome.done) == 500
    assert max(calls(tmp_path).count(word) for word in set(calls(tmp_path))) == 1


def test_other_errors_stop_it_too_where_that_is_asked(tmp_path, ledger, threads):
    bad = Task("n0", 100, works.unreadable, ("here", tmp_path))
    with pytest.raises(PartitionReadError, match="here"):
        run_tasks([bad], ledger, threads, stop_on=(PartitionReadError,))


def test_missing_software_stops_it(ledger, threads):
    with pytest.raises(SystemFailure, match="a worker lacks software: No module named 'no_such_module_at_all'"):
        run_tasks([Task("one", 1, works.missing_module)], ledger, threads)


def test_names(tmp_path, ledger, threads):
    with pytest.raises(UsageError, match="two tasks are named n0"):
        run_tasks(squares(1, tmp_path) * 2, ledger, threads)
    for name in ("", "a/b", ".hidden", "x" * 201, "a b"):
        with pytest.raises(UsageError, match="cannot name a task"):
            Task(name, 1, works.square)


def test_an_error_of_the_source_ends_the_run_and_keeps_what_is_done(tmp_path, ledger, threads):
    def source():
        yield from squares(20, tmp_path)
        raise SystemFailure("the archive does not answer")

    with pytest.raises(SystemFailure, match="archive"):
        run_tasks(source(), ledger, threads)
    # What had begun was waited for.
    done = set(ledger.done())
    assert {f"n{number}" for number in map(int, calls(tmp_path))} == done


class Counting:
    """Tasks with so many bytes of arguments, and how many were out at most when one was drawn."""

    def __init__(self, count, size, watch):
        self.most = 0
        self._count, self._size, self._watch = count, size, watch

    def __iter__(self):
        for number in range(self._count):
            self.most = max(self.most, number + 1 - self._watch.progress.done)
            yield Task(f"b{number}", self._size, works.length, (bytes(self._size),))


def test_tasks_are_drawn_as_they_are_taken(ledger, threads):
    watch = Watch()
    source = Counting(100, 1 << 20, watch)
    outcome = run_tasks(source, ledger, threads, watch=watch, bytes_under_way=3 << 20)
    assert len(outcome.done) == 100
    # Those under way, one that goes over the bound, and what is put together for the next message.
    assert source.most <= 3 + dispatch.MESSAGE_BYTES // (1 << 20) + 1


def test_one_task_larger_than_the_bound_is_done(ledger, threads):
    outcome = run_tasks(Counting(3, 1 << 20, Watch()), ledger, threads, bytes_under_way=10)
    assert [record["length"] for record in outcome.done.values()] == [1 << 20] * 3


def test_an_interrupt_is_noted(tmp_path, ledger, threads):
    def source():
        yield from squares(3, tmp_path)
        raise KeyboardInterrupt

    log = tmp_path / "run.log.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_tasks(source(), ledger, threads, watch=Watch(log))
    assert read_log(log)[-1].items() >= {"event": "broken off", "reason": "KeyboardInterrupt: "}.items()
    assert threading.active_count() < 50
