"""Waiting for what does not work, and giving that up when told to."""

from __future__ import annotations

import logging
import threading

import pytest

from xmatch_hats.errors import BrokerError, CatalogError, PacketError, StoreError, UsageError
from xmatch_hats.step import waiting
from xmatch_hats.step.waiting import AbandonedError, Stop, Waiter


class Flaky:
    """Fails some times, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.calls = list(failures), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def test_what_may_work_again_is_tried_again_and_said_aloud(caplog):
    told: list[tuple] = []
    waiter = Waiter(Stop(), 0.001, on_wait=lambda *what: told.append(what))
    call = Flaky(StoreError("is gone", place="DB_HOST"), CatalogError("cannot be read"), OSError("disk"))
    with caplog.at_level(logging.WARNING):
        assert waiter.until_done("database", call) == "done"
    assert call.calls == 4
    reasons = ["DB_HOST: is gone", "cannot be read", "disk"]
    assert told == [*(("database", why, number) for number, why in enumerate(reasons, 1)), ("database", "", 0)]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "waiting for database: DB_HOST: is gone; try 1 failed, next in 0.0 s"
    assert said[-1].startswith("database works again after")


def test_what_works_at_once_is_not_spoken_of(caplog):
    told: list[tuple] = []
    assert Waiter(Stop(), on_wait=lambda *what: told.append(what)).until_done("x", lambda: 3) == 3
    assert told == []
    assert caplog.records == []


@pytest.mark.parametrize("error", [PacketError("a packet"), UsageError("a setting"), ValueError("a bug")])
def test_what_waiting_does_not_mend_is_raised_at_once(error):
    call = Flaky(error)
    with pytest.raises(type(error)):
        Waiter(Stop(), 0.001).until_done("x", call)
    assert call.calls == 1


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_patience_ends(patience):
    call = Flaky(*[BrokerError("no")] * 9)
    with pytest.raises(BrokerError):
        Waiter(Stop(), 0.001, patience).until_done("x", call)
    assert call.calls == patience + 1


def test_pauses_grow_to_a_bound(monkeypatch):
    pauses: list[float] = []
    stop = Stop()
    monkeypatch.setattr(stop.abandoned, "wait", pauses.append)
    Waiter(stop, 1.0).until_done("x", Flaky(*[BrokerError("no")] * 7))
    assert pauses == [1, 2, 4, 8, 10, 10, 10]
    assert waiting.LONGEST_PAUSE == 10


@pytest.mark.parametrize("until_asked", [False, True])
def test_it_gives_up_when_the_run_ends_as_soon_as_nothing_depends_on_it(until_asked):
    stop, failed = Stop(), threading.Event()

    def fail() -> None:
        failed.set()
        raise BrokerError("no")

    caught: list[BaseException] = []

    def wait() -> None:
        try:
            Waiter(stop, 3600).until_done("source", fail, until_asked=until_asked)
        except AbandonedError as error:
            caught.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    failed.wait(30)
    stop.requested.set()
    if not until_asked:
        thread.join(0.2)
        assert thread.is_alive()
        stop.abandoned.set()
    thread.join(30)
    assert [str(error) for error in caught] == ["given up while waiting for source"]


def test_what_is_asked_for_after_the_end_is_not_even_tried():
    stop, call = Stop(), Flaky()
    stop.abandoned.set()
    with pytest.raises(AbandonedError):
        Waiter(stop).until_done("x", call)
    assert call.calls == 0
