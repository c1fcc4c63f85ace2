"""The loop itself: batches, rebalances and the end, with a source and a worker that do as they are told."""

from __future__ import annotations

import threading

import pytest

from tests.step.scripted import PACKET, Scene, messages
from xmatch_hats.errors import AccountError
from xmatch_hats.step import loop as loop_module
from xmatch_hats.step.waiting import AbandonedError


def later(call) -> None:
    """Have something happen beside the loop in a moment."""
    threading.Timer(0.05, call).start()


def sizes(scene: Scene) -> list[int]:
    return [len(batch) for batch in scene.batches]


def test_batches_are_full_in_order_and_one_at_a_time():
    scene = Scene(messages(35)).run()
    assert sizes(scene) == [10, 10, 10, 5]
    assert [number for batch in scene.batches for _, number in batch] == list(range(35))
    assert scene.seen == [(name, number) for number in range(1, 5) for name in ("committing", "committed")]
    assert scene.reports == [1, 2, 3, 4]
    assert scene.source.settled == [(1, {"t[0]": 9}), (2, {"t[0]": 19}), (3, {"t[0]": 29}), (4, {"t[0]": 34})]
    assert scene.worker.closed
    assert scene.beats >= 4


def test_a_batch_that_is_not_full_goes_when_its_time_is_over():
    scene = Scene(messages(3), ends=False, seconds=0.05)
    scene.source.script[500] = scene.stop.requested.set
    scene.run()
    assert sizes(scene) == [3]


def test_a_batch_is_full_when_its_bytes_are():
    """It is looked at between polls, so that what one poll gives may be more."""
    scene = Scene(messages(40), alerts=1000, size=len(PACKET) * 5)
    polled = scene.source.poll
    scene.source.poll = lambda limit, seconds: polled(min(limit, 2), seconds)
    scene.run()
    assert sizes(scene) == [6] * 6 + [4]


def test_what_is_gathered_while_a_batch_computes_is_one_batch_at_most(monkeypatch):
    monkeypatch.setattr(loop_module, "_PATIENCE_SECONDS", 0.05)
    scene = Scene(messages(1000), at_once=False, stop_seconds=0.05)
    scene.source.script[20] = scene.stop.requested.set
    scene.run()
    assert sizes(scene) == [10]
    assert 1000 - len(scene.source.waiting) == 20
    # It is paused, and polled all the same, so that its group does not miss it.
    assert scene.source.pauses == 1
    assert set(scene.source.limits[5:]) == {0}


def test_a_source_that_was_paused_is_resumed_when_there_is_room(monkeypatch):
    monkeypatch.setattr(loop_module, "_PATIENCE_SECONDS", 0.0)
    scene = Scene(messages(40), at_once=False)
    for poll in range(5, 60, 5):
        scene.source.script[poll] = lambda: [
            scene.worker.finish(flight) for flight in scene.worker.flights if not flight.done.is_set()
        ]
    scene.run()
    assert sizes(scene) == [10] * 4
    assert scene.source.pauses >= 2


def test_the_next_batch_waits_until_the_last_one_is_committed():
    scene = Scene(messages(30))
    scene.source.refusals = 7
    scene.run()
    assert scene.seen == [(name, number) for number in range(1, 4) for name in ("committing", "committed")]
    assert [number for number, _ in scene.source.settled] == [1, 2, 3]
    assert sizes(scene) == [10] * 3


def test_a_sink_that_commits_leaves_nothing_to_the_source():
    scene = Scene(messages(20))
    scene.source.commits = False
    scene.run()
    assert scene.seen == []
    assert scene.reports == [1, 2]


def test_what_the_worker_stops_at_is_raised_and_nothing_is_settled():
    scene = Scene(messages(30), at_once=False)
    scene.source.script[2] = lambda: scene.worker.finish(scene.worker.flights[0], AccountError("one is missing"))
    with pytest.raises(AccountError, match="one is missing"):
        scene.run()
    assert scene.source.settled == []
    assert scene.worker.closed
    # Leaving the group releases partitions: nothing is waited for any more.
    scene.source.release({"t[0]"}, False)
    assert scene.source.settled == []


def test_a_batch_given_up_is_read_again_and_takes_the_gathered_one_along():
    scene = Scene(messages(40, 2), at_once=False)
    give_up = AbandonedError("its partitions belong to somebody else")
    scene.source.script[4] = lambda: scene.worker.finish(scene.worker.flights[0], give_up)
    scene.source.script[5] = lambda: setattr(scene.worker, "at_once", True)
    scene.run()
    assert scene.source.rewound == [(1, {"t[0]": 0, "t[1]": 0})]
    assert ("abandoned", 1) in scene.seen
    # What was gathered came from the same partitions, and is read again behind the batch.
    assert scene.batches[1] == [(f"t[{i % 2}]", i // 2) for i in range(20, 30)]
    assert scene.reports == [2, 3]


def test_partitions_in_no_batch_are_released_at_once():
    scene = Scene([*messages(10), *messages(10)], at_once=False)
    released = []
    scene.source.script[3] = lambda: released.append(scene.source.release({"t[5]"}, False))
    scene.source.script[4] = lambda: [
        scene.worker.finish(scene.worker.flights[0]),
        setattr(scene.worker, "at_once", True),
    ]
    scene.run()
    assert released == [None]
    assert not any(flight.lost for flight in scene.worker.flights)


def test_a_release_waits_for_the_batch_and_commits_it_at_once():
    scene = Scene(messages(30, 2), at_once=False)
    flights = scene.worker.flights

    def release() -> None:
        later(lambda: scene.worker.finish(flights[0]))
        scene.source.release({"t[1]"}, False)
        assert flights[0].done.is_set()
        assert scene.source.settled == [(1, {"t[0]": 4, "t[1]": 4})]
        scene.worker.at_once = True

    scene.source.script[3] = release
    scene.run()
    assert not flights[0].lost
    # The other partition is committed again with what is left of it; the one that went is not.
    assert scene.source.settled[1] == (1, {"t[0]": 4})
    # Of what was gathered, only the partition that is still here goes on.
    assert {account for account, _ in scene.batches[1]} == {"t[0]"}


@pytest.mark.parametrize("bound", ["release_seconds", "patience"])
def test_a_batch_that_is_late_for_a_release_is_lost(bound):
    scene = Scene(messages(30, 2), at_once=False, **({"release_seconds": 0.05} if bound == "release_seconds" else {}))
    if bound == "patience":
        scene.source.patience = 0.05
    flights = scene.worker.flights

    def release() -> None:
        scene.source.release({"t[1]"}, False)
        assert flights[0].lost
        scene.worker.finish(flights[0], AbandonedError("too late"))
        scene.worker.at_once = True

    scene.source.script[3] = release
    scene.run()
    # Only what was here all the time is read again: the other partition may be elsewhere by the time it is back.
    assert scene.source.rewound == [(1, {"t[0]": 0})]
    assert all(number != 1 for number, _ in scene.source.settled)


def test_a_batch_whose_partitions_are_lost_already_is_not_waited_for():
    scene = Scene(messages(30, 2), at_once=False)
    flights = scene.worker.flights

    def lose() -> None:
        scene.source.release({"t[0]", "t[1]"}, True)
        assert flights[0].lost
        assert not flights[0].done.is_set()
        scene.worker.finish(flights[0], AbandonedError("lost"))
        scene.worker.at_once = True

    scene.source.script[3] = lose
    scene.run()
    assert scene.source.rewound == [(1, {})]
    # The gathered batch is gone altogether; there is no empty one in its place.
    assert scene.batches == [[], [(f"t[{i % 2}]", i // 2) for i in range(20, 30)]]


def test_a_batch_delivered_in_spite_of_its_loss_commits_what_is_still_here():
    scene = Scene(messages(30, 2), at_once=False, release_seconds=0.02)

    def release() -> None:
        scene.source.release({"t[1]"}, False)
        scene.worker.finish(scene.worker.flights[0])
        scene.worker.at_once = True

    scene.source.script[3] = release
    scene.run()
    assert scene.source.settled[0] == (1, {"t[0]": 4})
    assert scene.source.rewound == []


def test_told_to_stop_it_finishes_the_batch_on_its_way_and_no_other():
    scene = Scene(messages(100), at_once=False, stop_seconds=30)

    def stop() -> None:
        scene.stop.requested.set()
        later(lambda: scene.worker.finish(scene.worker.flights[0]))

    scene.source.script[4] = stop
    scene.source.refusals = 3
    scene.run()
    assert scene.reports == [1]
    assert scene.source.settled == [(1, {"t[0]": 9})]
    assert not scene.stop.abandoned.is_set()
    assert len(scene.worker.flights) == 1


@pytest.mark.parametrize("is_lost", [False, True])
def test_told_to_stop_it_gives_a_batch_up_in_time(is_lost):
    scene = Scene(messages(100), at_once=False, stop_seconds=3600 if is_lost else 0.05, release_seconds=0.01)

    def stop() -> None:
        if is_lost:
            scene.source.release({"t[0]"}, False)
        scene.stop.requested.set()

    scene.source.script[4] = stop
    scene.run()
    assert scene.stop.abandoned.is_set()
    assert scene.reports == []
    assert scene.source.settled == []
    assert scene.worker.closed


def test_a_commit_that_hangs_does_not_keep_it_from_stopping():
    scene = Scene(messages(100), stop_seconds=0.05)
    scene.source.refusals = 10**9
    scene.source.script[20] = scene.stop.requested.set
    scene.run()
    assert scene.reports == []
    assert scene.stop.abandoned.is_set()


def test_told_to_stop_in_the_middle_of_a_release_it_does_not_wait_for_longer_than_that():
    scene = Scene(messages(100), at_once=False, stop_seconds=0.05, release_seconds=3600)

    def stop() -> None:
        scene.stop.requested.set()
        scene.source.release({"t[0]"}, False)

    scene.source.script[4] = stop
    scene.run()
    assert scene.worker.flights[0].lost
    assert scene.stop.abandoned.is_set()


def test_a_source_that_has_nothing_ends_the_loop():
    scene = Scene([]).run()
    assert (scene.batches, scene.reports) == ([], [])
