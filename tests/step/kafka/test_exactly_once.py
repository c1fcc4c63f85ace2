"""Transactions: what is seen, what is not, and how they end when nobody hears of it."""

from __future__ import annotations

import threading
import time

import confluent_kafka
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.services.topics import UNCOMMITTED, committed, produce, read_all, settings
from tests.shared import full_size
from tests.step.streams import Stream, alerts, candids, wait_until
from xmatch_hats.step.kafka import offsets, transactions
from xmatch_hats.step.kafka.source import KafkaSource
from xmatch_hats.step.kafka.transactions import FencedError
from xmatch_hats.step.loop import BatchLimits
from xmatch_hats.step.waiting import AbandonedError

LIMITS = BatchLimits(alerts=20, seconds=0.3)


@pytest.fixture
def step(make_stream) -> Stream:
    """With 100 alerts to do, in batches of 20."""
    step = make_stream("exactly-once", limits=LIMITS)
    produce(step.address, step.topics[0], alerts(100))
    return step


def again(step: Stream, **changes) -> Stream:
    return Stream(step.address, step.topics, step.out, step.group, step.delivery, limits=LIMITS, **changes)


def visible(step: Stream) -> int:
    return len(read_all(step.address, step.out, patience_s=0))


def offset(step: Stream) -> int:
    return committed(step.address, step.group, step.topics[0]).get(0, 0)


def test_at_every_boundary_as_much_is_committed_as_can_be_seen(step):
    """So wherever it is killed, the next run goes on behind what can be seen."""
    seen = []

    def look(boundary: str, number: int) -> None:
        done = 50 * (number if boundary == "committed" else number - 1)
        wait_until(lambda: (visible(step), offset(step)) == (done, done), f"{done} alerts at {boundary} of {number}")
        seen.append(boundary)

    step.limits, step.watch = BatchLimits(alerts=50, seconds=0.3), look
    step.run()
    assert seen == ["consumed", "matched", "produced", "flushed", "committing", "committed"] * 2


def test_what_was_aborted_is_in_the_topic_and_not_to_be_seen(step):
    step.policy = "fail"
    real = transactions.Shipper.flush

    def stop_at_the_third(shipper):
        real(shipper)
        if len(step.reports) == 2:
            step.stop.abandoned.set()
            step.stop.requested.set()
            raise AbandonedError("killed here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transactions.Shipper, "flush", stop_at_the_third)
        step.run()
    wait_until(lambda: (visible(step), offset(step)) == (40, 40), "what is committed can be seen")
    assert len(read_all(step.address, step.out, isolation=UNCOMMITTED)) == 60
    again(step).run()
    assert candids(read_all(step.address, step.out)) == list(range(100))


class Deaf(confluent_kafka.Producer):
    """A producer whose commits time out, as if no answer had come: some were done, some were not."""

    heard: list[bool]
    """For each commit, whether it is done; those behind the last one are done and heard of."""
    opening = threading.Event()
    """Until it is set, none comes to replace the first one."""
    made = 0

    def init_transactions(self, *arguments):
        if Deaf.made and not Deaf.opening.is_set():
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))
        Deaf.made += 1
        super().init_transactions(*arguments)

    def commit_transaction(self, *arguments):
        is_done = self.heard.pop(0) if self.heard else None
        if is_done is not False:
            super().commit_transaction(*arguments)
        if is_done is not None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True))


@pytest.fixture
def deaf(monkeypatch) -> type[Deaf]:
    Deaf.heard, Deaf.made = [], 0
    Deaf.opening.set()
    monkeypatch.setattr(transactions, "Producer", Deaf)
    return Deaf


def test_a_commit_without_an_answer_is_looked_up_and_done_again_only_if_it_was_not_done(step, deaf, caplog):
    deaf.heard = [True, False, False, True]
    step.run()
    assert candids(read_all(step.address, step.out)) == list(range(100))
    told = [record.getMessage() for record in caplog.records if "before its producer failed" in record.message]
    assert [" was ".join(("batch", *text.split()[1:4:2])) for text in told] == [
        "batch was 1 was committed", "batch was 2 was aborted", "batch was 2 was aborted", "batch was 2 was committed",
    ]  # fmt: skip
    assert step.total.out == 100
    wait_until(lambda: offset(step) == 100, "what is committed can be seen")


@pytest.mark.parametrize("is_done", [True, False])
def test_a_batch_in_doubt_whose_partitions_are_asked_for_meanwhile(make_stream, deaf, is_done):
    """Its producer comes back only after part of its partitions went to another step."""
    consumer = {"partition.assignment.strategy": "cooperative-sticky"}
    limits = BatchLimits(alerts=60, seconds=0.3, release_seconds=0.3)
    step = make_stream("exactly-once", 4, consumer=consumer, limits=limits, until_end=False)
    other = again(step, consumer=consumer, until_end=False, transactional_id=f"{step.group}-other")
    deaf.heard = [is_done]
    deaf.opening.clear()
    produce(step.address, step.topics[0], alerts(100, 4))
    with step.running():
        step.wait_for(lambda: deaf.made == 1 and not deaf.heard, "the first commit is in doubt")
        # The other one's producer must not wait for the same thing.
        made, deaf.made = deaf.made, 0
        with other.running():
            wait_until(lambda: deaf.made == 1, "the other one has a producer")
            deaf.made = made
            step.wait_for(lambda: len(step.assigned) < 4, "some partitions are given up")
            deaf.opening.set()
            step.wait_for(lambda: len(set(candids(read_all(step.address, step.out)))) == 100, "all alerts")
            produce(step.address, step.topics[0], alerts(110, 4)[100:])
            step.wait_for(lambda: len(set(candids(read_all(step.address, step.out)))) == 110, "the last alerts")
    assert sorted(candids(read_all(step.address, step.out))) == list(range(110))


def usurp(step: Stream) -> None:
    """Take the step's transactional id over, as another step with the same one would."""
    conf = {"transactional.id": step.transactional_id or step.group}
    confluent_kafka.Producer(settings(step.address, **conf)).init_transactions(30)


@pytest.mark.parametrize(
    "boundary",
    ["flushed", "committing", *(full_size(name) for name in ("matched", "produced"))],
)
def test_a_step_whose_transactions_were_taken_over_once_does_its_batch_again(step, boundary):
    usurped = []

    def watch(name: str, number: int) -> None:
        if (name, number) == (boundary, 2) and not usurped:
            usurped.append(number)
            usurp(step)

    step.watch = watch
    step.run()
    assert usurped == [2]
    assert candids(read_all(step.address, step.out)) == list(range(100))
    assert step.total.out == 100
    wait_until(lambda: offset(step) == 100, "what is committed can be seen")


def test_two_steps_with_the_same_transactional_id_are_told_and_lose_nothing(step):
    step.watch = lambda name, number: usurp(step) if name == "flushed" and number >= 2 else None
    with pytest.raises(FencedError) as caught:
        step.run()
    assert "another step has taken the transactions over" in caught.value.message
    assert caught.value.place == "TRANSACTIONAL_ID"
    assert "one of its own" in caught.value.hint
    wait_until(lambda: (visible(step), offset(step)) == (20, 20), "what is committed can be seen")
    again(step).run()
    assert candids(read_all(step.address, step.out)) == list(range(100))


def test_a_transaction_that_the_broker_gave_up_is_done_again(step):
    """The step was held up for longer than the broker keeps a transaction open."""
    step.producer = {"transaction.timeout.ms": 1_000}
    held = []

    def hold(name: str, number: int) -> None:
        if (name, number) == ("flushed", 2) and not held:
            held.append(number)
            time.sleep(3)

    step.watch = hold
    step.run()
    assert candids(read_all(step.address, step.out)) == list(range(100))
    assert step.total.out == 100
    wait_until(lambda: offset(step) == 100, "what is committed can be seen")


def test_a_member_that_was_thrown_out_does_not_commit(make_stream, monkeypatch):
    """It did not poll for so long that its partition went to another step, and it has not heard of that yet."""
    impatient = {"session.timeout.ms": 1500, "max.poll.interval.ms": 1500}
    step = make_stream("exactly-once", limits=LIMITS, until_end=False, consumer=impatient)
    other = again(step, until_end=False, transactional_id=f"{step.group}-other")
    produce(step.address, step.topics[0], alerts(60))
    may_poll, may_commit, poll = threading.Event(), threading.Event(), KafkaSource.poll
    may_poll.set()

    def poll_unless_held_up(source: KafkaSource, *arguments):
        if source is step.source:
            may_poll.wait(40)
        return poll(source, *arguments)

    def hold(name: str, number: int) -> None:
        if (name, number) == ("flushed", 2) and not may_commit.is_set():
            may_poll.clear()
            may_commit.wait(40)

    monkeypatch.setattr(KafkaSource, "poll", poll_unless_held_up)
    step.watch = hold
    with step.running():
        step.wait_for(lambda: not may_poll.is_set(), "a transaction is open, and nobody polls")
        with other.running():
            other.wait_for(lambda: other.total.out == 40, "the other one has done the rest")
            may_commit.set()
            step.wait_for(lambda: "output" in [what for what, _, _ in step.waits], "its commit was refused")
            wait_until(lambda: visible(step) == 60, "what is committed can be seen")
            may_poll.set()
            step.wait_for(lambda: len(step.assignments) > 1, "it has heard of it")
        step.wait_for(lambda: step.assigned, "it has the partition again")
        produce(step.address, step.topics[0], alerts(70)[60:])
        step.wait_for(lambda: visible(step) >= 70, "the last alerts")
    assert candids(read_all(step.address, step.out)) == list(range(70))


def test_a_step_that_waits_for_offsets_in_an_open_transaction_can_be_stopped(step, monkeypatch):
    """Another step died in the middle of a commit: its offsets can be had only when its transaction has timed out."""
    monkeypatch.setattr(offsets, "_TIMEOUT", 1.0)
    dead = confluent_kafka.Producer(settings(step.address, **{"transactional.id": f"{step.group} dead"}))
    dead.init_transactions(30)
    dead.begin_transaction()
    nobody = Consumer(settings(step.address, **{"group.id": step.group}))
    dead.send_offsets_to_transaction([TopicPartition(step.topics[0], 0, 40)], nobody.consumer_group_metadata(), 30)
    with step.running():
        step.wait_for(lambda: "source" in [what for what, _, _ in step.waits], "it waits for the offsets")
    assert step.total.received == 0
    dead.commit_transaction(30)
    nobody.close()
    again(step).run()
    assert candids(read_all(step.address, step.out)) == list(range(40, 100))
