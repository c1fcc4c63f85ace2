"""How tasks are put together and handed out, seen from a stream that does as the test says."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from contextlib import contextmanager

import pytest

from tests.bulk.runs import works
from tests.bulk.runs.works import calls, squares
from xmatch_hats.bulk.runs import dispatch
from xmatch_hats.bulk.runs.dispatch import run_tasks
from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.errors import CatalogError
from xmatch_hats.matching.streaming import Ended, Stream


class ScriptedStream(Stream):
    """Calls are made when they are waited for, in any order; those with a deadly task are not."""

    def __init__(self, slots, deadly=(), seed=1):
        super().__init__()
        self._slots = slots
        self._deadly = set(deadly)
        self._chance = random.Random(seed)
        self._calls = {}
        self.messages = []
        """Names of the tasks of each."""
        self.most_calls = self.most_bytes = 0

    def slots(self):
        return self._slots

    def submit(self, function, *arguments):
        number = self._next_number()
        self._calls[number] = (function, arguments)
        self.messages.append([pickle.loads(blob)[0] for blob in arguments[0]])
        self.most_calls = max(self.most_calls, len(self._calls))
        held = sum(len(blob) for _, (blobs, _) in self._calls.values() for blob in blobs)
        self.most_bytes = max(self.most_bytes, held)
        return number

    def wait(self):
        number = self._chance.choice(list(self._calls))
        if self._deadly & set(self.messages[number - 1]):
            # Whatever else is under way is on the dying workers, too.
            ends = [Ended(other, error=OSError("4 workers died"), killed=True) for other in self._calls]
            self._calls.clear()
            return ends
        function, arguments = self._calls.pop(number)
        return [Ended(number, function(*arguments))]

    def close(self):
        pass


class Scripted:
    """A scheduler with such a stream."""

    place, dashboard = "a test", None

    def __init__(self, stream):
        self._stream = stream

    def connect(self):
        pass

    @contextmanager
    def stream(self, _name):
        yield self._stream


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def test_small_neighbours_travel_together(tmp_path, ledger):
    stream = ScriptedStream(slots=3)
    outcome = run_tasks(squares(400, tmp_path), ledger, Scripted(stream))
    assert list(outcome.done) == [f"n{number}" for number in range(400)]
    sent = [name for message in stream.messages for name in message]
    assert sent == list(outcome.done)
    assert len(stream.messages) < 200
    # Few at first, when nobody knows how long they take.
    assert [len(message) for message in stream.messages[: dispatch.AHEAD * 3]] == [1] * dispatch.AHEAD * 3
    assert max(map(len, stream.messages)) <= dispatch.MESSAGE_TASKS
    assert stream.most_calls <= dispatch.AHEAD * 3


def test_large_tasks_travel_alone(ledger, monkeypatch):
    monkeypatch.setattr(dispatch, "MESSAGE_BYTES", 10_000)
    stream = ScriptedStream(slots=2)
    large = (Task(f"b{number}", 10, works.length, (bytes(6_000),)) for number in range(40))
    small = (Task(f"s{number}", 10, works.length, (bytes(60),)) for number in range(40))
    run_tasks([*large, *small], ledger, Scripted(stream), bytes_under_way=16_000)
    counts = [Counter(name[0] for name in message) for message in stream.messages]
    assert max(count["b"] for count in counts) == 1
    assert max(count["s"] for count in counts) > 1
    # What goes over the bound is one message at most.
    assert stream.most_bytes < 16_000 + 10_000


def test_deaths_are_held_against_the_deadly_alone(tmp_path, ledger):
    stream = ScriptedStream(slots=2, deadly={"n7", "n31"})
    outcome = run_tasks(squares(60, tmp_path), ledger, Scripted(stream))
    assert list(outcome.failed) == ["n7", "n31"]
    assert set(outcome.done) == {f"n{number}" for number in range(60)} - {"n7", "n31"}
    assert set(ledger.set_aside()) == {"n7", "n31"}
    assert max(Counter(calls(tmp_path)).values()) == 1


def test_what_is_suspected_may_fail_in_other_ways(tmp_path, ledger):
    odd = Task("n1", 100, works.fail_until, (2, tmp_path))
    stream = ScriptedStream(slots=2, deadly={"n0"})
    outcome = run_tasks(squares(4, tmp_path, n1=odd), ledger, Scripted(stream), attempts=4)
    assert list(outcome.failed) == ["n0"]
    assert outcome.done["n1"] == {"tries": 3}


def test_what_a_dead_worker_had_done_is_not_done_again(tmp_path, ledger):
    ledger.begin()

    class Late(ScriptedStream):
        """The first call is made, but nobody hears of it."""

        def wait(self):
            if not ledger.done():
                function, arguments = self._calls[1]
                function(*arguments)
                del self._calls[1]
                return [Ended(1, error=OSError("4 workers died"), killed=True)]
            return super().wait()

    outcome = run_tasks(squares(3, tmp_path), ledger, Scripted(Late(slots=1)))
    assert len(outcome.done) == 3
    assert calls(tmp_path).count("0") == 1


def test_an_error_that_ends_the_run_ends_its_message(tmp_path, ledger):
    tasks = squares(200, tmp_path, n150=Task("n150", 100, works.unreadable, ("here", tmp_path)))
    with pytest.raises(CatalogError, match="here"):
        run_tasks(tasks, ledger, Scripted(ScriptedStream(slots=1)), stop_on=(CatalogError,))
    assert ledger.set_aside() == {}
    assert 100 < len(ledger.done()) < 200
