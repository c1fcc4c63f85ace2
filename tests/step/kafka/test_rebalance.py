"""Several steps in one group: joining, leaving, being late, and being thrown out; nothing is lost."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest

from tests.services.follower import Follower
from tests.services.topics import committed, produce, read_all
from tests.shared import full_size
from tests.step.streams import Gate, Stream, alerts, candids, wait_until
from xmatch_hats.errors import BrokerError
from xmatch_hats.step.loop import BatchLimits

PARTITIONS = 6
BOTH_WAYS = [
    ("at-least-once", "cooperative-sticky"),
    ("exactly-once", "range"),
    full_size(("at-least-once", "range")),
    full_size(("exactly-once", "cooperative-sticky")),
]
"""Delivery, and how partitions are dealt out: all are taken away in a rebalance, or only those that move."""


@pytest.fixture(params=BOTH_WAYS, ids="-".join)
def members(make_stream, request):
    """Make steps of one group: ``members(count)``; each may be changed before it runs."""
    delivery, strategy = request.param

    def make(count: int, **settings) -> list[Stream]:
        consumer = {"partition.assignment.strategy": strategy, **settings.pop("consumer", {})}
        first = make_stream(delivery, PARTITIONS, until_end=False, consumer=consumer, **settings)
        others = [
            Stream(
                first.address,
                first.topics,
                first.out,
                first.group,
                delivery,
                until_end=False,
                consumer=consumer,
                **settings,
            )
            for _ in range(count - 1)
        ]
        for number, step in enumerate([first, *others]):
            step.transactional_id = f"{step.group}-{number}"
            step.matcher = Gate(0.05)
        return [first, *others]

    return make


def all_committed(step: Stream) -> int:
    return sum(committed(step.address, step.group, step.topics[0]).values())


def check(step: Stream, total: int) -> None:
    """Every alert came out, in the order of its partition; exactly once where that is promised."""
    seen = candids(read_all(step.address, step.out))
    counts = Counter(seen)
    assert sorted(counts) == list(range(total))
    if step.delivery == "exactly-once":
        assert max(counts.values()) == 1
    first_seen = list(dict.fromkeys(seen))
    for partition in range(PARTITIONS):
        ours = [i for i in first_seen if (i % 7) % PARTITIONS == partition]
        assert ours == sorted(ours)


def test_steps_join_and_leave_under_load(members):
    first, second, third = members(3)
    sent = alerts(1500, PARTITIONS)
    with Follower(first.address, first.out) as follower, ExitStack() as stack:
        produce(first.address, first.topics[0], sent[:500])
        stack.enter_context(first.running())
        first.wait_for(lambda: len(follower) >= 100, "the first alerts")
        with second.running():
            second.wait_for(lambda: second.assigned, "the second has partitions")
            produce(first.address, first.topics[0], sent[500:1000])
            second.wait_for(lambda: second.total.out >= 50, "the second works")
            with third.running():
                third.wait_for(lambda: third.assigned, "the third has partitions")
                produce(first.address, first.topics[0], sent[1000:])
                third.wait_for(lambda: third.total.out >= 50, "the third works")
        first.wait_for(lambda: len(first.assigned) == PARTITIONS, "the first has all partitions again")
        follower.wait_until(lambda: set(candids(follower.messages)) == set(range(1500)), what="all alerts")
    check(first, 1500)
    assert all(step.total.out for step in (first, second, third))
    if first.delivery == "at-least-once":
        assert all_committed(first) == 1500


def test_a_batch_that_is_late_for_a_rebalance_is_given_up(members):
    """Its partitions go to another step and come back before it is through: it must not return to where it was."""
    slow, quick = members(2)
    slow.limits = BatchLimits(alerts=90, seconds=0.3, release_seconds=0.3)
    slow.matcher = gate = Gate(is_open=False)
    abandoned = []
    slow.watch = lambda boundary, number: abandoned.append(number) if boundary == "abandoned" else None
    produce(slow.address, slow.topics[0], alerts(180, PARTITIONS))
    with slow.running():
        slow.wait_for(gate.entered.is_set, "a batch is being matched")
        with quick.running():
            quick.wait_for(lambda: quick.assigned, "the other step has partitions")
            produce(slow.address, slow.topics[0], alerts(360, PARTITIONS)[180:])
            share = sum(f"{slow.topics[0]}[{(i % 7) % PARTITIONS}]" in quick.assigned for i in range(360))
            quick.wait_for(lambda: quick.total.out == share, "it has done its share")
        slow.wait_for(lambda: len(slow.assigned) == PARTITIONS, "all partitions are back")
        gate.open.set()
        slow.wait_for(lambda: len(set(candids(read_all(slow.address, slow.out)))) == 360, "all alerts")
        # What it might have done again would come now.
        produce(slow.address, slow.topics[0], alerts(370, PARTITIONS)[360:])
        slow.wait_for(lambda: len(set(candids(read_all(slow.address, slow.out)))) == 370, "the last alerts")
    assert abandoned == [1]
    check(slow, 370)
    assert Counter(candids(read_all(slow.address, slow.out))).most_common(1)[0][1] == 1


def test_a_batch_longer_than_the_longest_pause_between_polls_keeps_its_member(make_stream):
    """The group throws out who does not poll; a batch that computes is no reason not to."""
    times = {"session.timeout.ms": 2000, "max.poll.interval.ms": 2000}
    limits = BatchLimits(alerts=50, seconds=0.3)
    step = make_stream("exactly-once", 2, matcher=Gate(is_open=False), consumer=times, limits=limits, until_end=False)
    produce(step.address, step.topics[0], alerts(120, 2))
    with step.running():
        step.wait_for(step.matcher.entered.is_set, "a batch is being matched")
        member = step.source.group.metadata
        step.matcher.open.wait(4)
        # The batch that computes and the next one, which is full: more is not taken into memory.
        assert step.source.given == 100
        step.matcher.open.set()
        step.wait_for(lambda: step.total.out == 120, "all alerts")
        assert step.assignments == [2]
        assert step.source.group.metadata == member
    assert sorted(candids(read_all(step.address, step.out))) == list(range(120))


def test_a_static_member_comes_back_to_its_partitions_without_a_rebalance(members):
    first, second = members(2)
    for number, step in enumerate((first, second)):
        step.consumer = {**step.consumer, "group.instance.id": f"member {number}"}
    produce(first.address, first.topics[0], alerts(200, PARTITIONS))
    with first.running():
        with second.running():
            first.wait_for(lambda: len(first.assigned) == len(second.assigned) == 3, "each has its share")
            mine, theirs, rebalances = first.assigned, second.assigned, len(first.assignments)
        produce(first.address, first.topics[0], alerts(400, PARTITIONS)[200:])
        again = Stream(
            second.address, second.topics, second.out, second.group, second.delivery, until_end=False,
            consumer=second.consumer, transactional_id=second.transactional_id,
        )  # fmt: skip
        with again.running():
            again.wait_for(lambda: again.assigned == theirs, "it has its share again")
            wait_until(lambda: len(set(candids(read_all(first.address, first.out)))) == 400, "all alerts")
        assert (first.assigned, len(first.assignments)) == (mine, rebalances)
    check(first, 400)


def test_a_static_member_whose_name_another_one_takes_says_so(make_stream):
    step = make_stream("at-least-once", until_end=False, consumer={"group.instance.id": "a name"})
    other = Stream(
        step.address, step.topics, step.out, step.group, step.delivery, until_end=False, consumer=step.consumer
    )

    def run_both() -> None:
        with step.running(), other.running():
            wait_until(lambda: step.is_done or other.is_done, "one of them has ended")

    with pytest.raises(BrokerError, match=r"cannot go on.*group\.instance\.id"):
        run_both()


@pytest.mark.parametrize("strategy", ["range", full_size("cooperative-sticky")])
def test_steps_that_end_when_all_is_read_do_so_in_a_group_too(make_stream, strategy):
    consumer = {"partition.assignment.strategy": strategy}
    limits = BatchLimits(alerts=20, seconds=0.1)
    first = make_stream("at-least-once", PARTITIONS, consumer=consumer, limits=limits, matcher=Gate(0.05))
    second = Stream(
        first.address, first.topics, first.out, first.group, consumer=consumer, limits=limits, matcher=Gate(0.05)
    )
    produce(first.address, first.topics[0], alerts(400, PARTITIONS))
    with first.running():
        first.wait_for(lambda: first.total.out >= 20, "the first one works")
        with second.running():
            wait_until(lambda: first.is_done and second.is_done, "both have ended by themselves")
    assert first.total.received + second.total.received == 400
    check(first, 400)
    assert all_committed(first) == 400
