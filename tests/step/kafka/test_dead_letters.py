"""What cannot be used is set aside untouched, with its reason and its place, and the stream goes on."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.alerts.makers import pack, small_alert
from tests.alerts.poison import odd_but_good, poison_corpus
from tests.services.topics import Message, Received, committed, produce, read_all
from tests.shared import full_size
from tests.step.streams import Stream, alerts, candids
from xmatch_hats.step.flight import PoisonedError
from xmatch_hats.step.kafka.offsets import Span
from xmatch_hats.step.kafka.topics import TopicPlan
from xmatch_hats.step.loop import BatchLimits

GOOD = pack([small_alert(5)])


@pytest.fixture(params=[full_size("at-least-once"), "exactly-once"])
def delivery(request: pytest.FixtureRequest) -> str:
    """The one that binds letters and offsets together in every run, and both in the campaign."""
    return request.param


def headers_of(message: Received) -> list[tuple[str, bytes | None]]:
    """Those that it was sent with."""
    return [pair for pair in message.headers if not pair[0].startswith("xmatch.")]


def replay(step: Stream, **changes) -> Stream:
    """Run the dead letters that are there now through the step again."""
    plan = TopicPlan((step.dead,))
    return Stream(
        step.address, (), step.out, f"{step.group}.dead", step.delivery,
        plan=plan, span=Span(until_now=True), until_end=False, **changes,
    )  # fmt: skip


def test_a_poison_corpus_one_in_twenty(stream):
    corpus = poison_corpus(GOOD)
    bad = [
        Message(data, f"key {i}".encode(), [("trace", b"%d" % i), ("empty", None)], timestamp_ms=1_700_000_000_000 + i)
        for i, (data, _) in enumerate(corpus.values())
    ]
    odd = list(odd_but_good(GOOD).values())
    good = [*alerts(20 * len(bad) - len(odd)), *(Message(data, b"odd") for data in odd)]
    mixed = [
        message
        for i, one in enumerate(bad)
        for message in [*good[20 * i : 20 * i + 13], one, *good[20 * i + 13 : 20 * i + 20]]
    ]
    step = stream(limits=BatchLimits(alerts=200, seconds=0.3, size=8 << 20))
    places = produce(step.address, step.topics[0], mixed)
    began = time.time() * 1000
    step.run()
    out, dead = read_all(step.address, step.out), read_all(step.address, step.dead)
    assert candids(out[: -len(odd)]) == list(range(len(good) - len(odd)))
    assert len(out) == len(good)
    assert len(dead) == len(bad)
    for letter, sent, place, (_, reason) in zip(dead, bad, places[13::21], corpus.values(), strict=True):
        assert (letter.value, letter.key, headers_of(letter)) == (sent.value, sent.key, list(sent.headers))
        assert reason in letter.header("xmatch.error.message")
        kind = "UnknownSchemaError" if "unknown schema" in reason else "PacketError"
        assert letter.header("xmatch.error.class") == kind
        assert letter.header("xmatch.source.topic") == step.topics[0]
        assert (int(letter.header("xmatch.source.partition")), int(letter.header("xmatch.source.offset"))) == place
        assert int(letter.header("xmatch.source.timestamp")) == sent.timestamp_ms
        assert began <= int(letter.header("xmatch.dead.time")) <= time.time() * 1000
        assert letter.header("xmatch.dead.attempts") == "1"
    assert (step.total.received, step.total.out, step.total.dead) == (len(mixed), len(good), len(bad))
    assert committed(step.address, step.group, step.topics[0])[0] >= len(mixed)


def test_policy_skip_leaves_them_out_and_counts_them(stream):
    step = stream(policy="skip")
    sent = alerts(40)
    sent[7] = Message(b"broken")
    sent[8] = Message(None, b"a tombstone")
    produce(step.address, step.topics[0], sent)
    step.run()
    assert candids(read_all(step.address, step.out)) == [i for i in range(40) if i not in (7, 8)]
    assert read_all(step.address, step.dead) == []
    assert (step.total.received, step.total.out, step.total.dead, step.total.skipped) == (40, 38, 0, 2)
    assert committed(step.address, step.group, step.topics[0])[0] >= 40


def test_policy_fail_stops_at_the_place_and_commits_nothing_of_its_batch(stream):
    step = stream(policy="fail", limits=BatchLimits(alerts=20, seconds=5))
    sent = alerts(60)
    sent[33] = Message(b"broken")
    produce(step.address, step.topics[0], sent)
    with pytest.raises(PoisonedError) as caught:
        step.run()
    assert caught.value.place == f"{step.topics[0]}[0] offset 33"
    assert "ERROR_POLICY" in caught.value.hint
    assert candids(read_all(step.address, step.out)) == list(range(20))
    assert read_all(step.address, step.dead) == []
    assert committed(step.address, step.group, step.topics[0]) == {0: 20}


def test_a_message_without_a_value_is_a_dead_letter(stream):
    step = stream()
    produce(step.address, step.topics[0], [*alerts(2), Message(None, b"gone", [("why", b"compaction")])])
    step.run()
    assert candids(read_all(step.address, step.out)) == [0, 1]
    (letter,) = read_all(step.address, step.dead)
    assert (letter.key, letter.value, headers_of(letter)) == (b"gone", None, [("why", b"compaction")])
    assert "the message has no value" in letter.header("xmatch.error.message")
    assert letter.header("xmatch.value.length") is None


def sized(number: int, size: int) -> Message:
    """An alert of so many bytes."""
    return Message(pack([small_alert(number, tags=["x" * size])]), b"%d" % number, [("n", b"%d" % number)])


def test_only_what_is_too_large_dies_and_what_came_with_it_goes_out_in_order(stream):
    """The limit is below what a producer sends at once, so that a careless one would have small alerts refused with the
    large ones, and the last few, which are no more than it takes, overtake them.
    """
    step = stream(
        out_config={"max_message_bytes": 20_000},
        producer={"batch.num.messages": 18},
        limits=BatchLimits(alerts=60, seconds=5),
    )
    large = {17, 18, 100}
    sent = [sized(i, 30_000 if i in large else 1_000) for i in range(120)]
    produce(step.address, step.topics[0], sent)
    step.run()
    assert candids(read_all(step.address, step.out)) == [i for i in range(120) if i not in large]
    letters = read_all(step.address, step.dead)
    assert [letter.header("xmatch.source.offset") for letter in letters] == [str(i) for i in sorted(large)]
    for letter in letters:
        original = sent[int(letter.header("xmatch.source.offset"))]
        assert (letter.key, letter.value, headers_of(letter)) == (original.key, original.value, list(original.headers))
        assert letter.header("xmatch.error.class") == "TooLargeError"
        assert "its topic takes 20000" in letter.header("xmatch.error.message")
    assert (step.total.out, step.total.dead) == (117, 3)
    assert sum(report.dead["TooLargeError"] for report in step.reports) == 3
    assert [int(candid) for report in step.reports for candid in report.candids] == [
        i for i in range(120) if i not in large
    ]


@pytest.mark.parametrize("delivery", ["at-least-once", full_size("exactly-once")])
def test_a_limit_lowered_while_the_step_runs_loses_nothing(make_stream, delivery):
    """Its batches are larger than the topic takes now: all of one are refused, and each is tried alone."""
    step = make_stream(delivery, until_end=False, limits=BatchLimits(alerts=60, seconds=0.5))
    large = {15, 16, 59}
    with step.running():
        produce(step.address, step.topics[0], [sized(i, 1_000) for i in range(10)])
        step.wait_for(lambda: step.total.out == 10, "the first alerts")
        lower = ConfigEntry("max.message.bytes", "20000", incremental_operation=AlterConfigOpType.SET)
        admin = AdminClient({"bootstrap.servers": step.address})
        topic = ConfigResource(ResourceType.TOPIC, step.out, incremental_configs=[lower])
        admin.incremental_alter_configs([topic])[topic].result(timeout=30)
        produce(step.address, step.topics[0], [sized(i, 30_000 if i in large else 1_000) for i in range(10, 60)])
        step.wait_for(lambda: step.total.received == 60, "the rest")
    assert sorted(candids(read_all(step.address, step.out))) == [i for i in range(60) if i not in large]
    assert len(read_all(step.address, step.dead)) == 3


def test_what_no_topic_can_hold_leaves_its_length_and_checksum_and_says_so_when_replayed(stream):
    small = {"max_message_bytes": 20_000}
    step = stream(out_config=small, dead_config=small)
    large = sized(3, 50_000)
    produce(step.address, step.topics[0], [sized(1, 100), sized(2, 100), large, Message(b"broken")])
    step.run()
    assert candids(read_all(step.address, step.out)) == [1, 2]
    without, broken = sorted(read_all(step.address, step.dead), key=lambda m: m.value is not None)
    assert broken.value == b"broken"
    assert (without.key, without.value, headers_of(without)) == (large.key, None, list(large.headers))
    assert without.header("xmatch.error.class") == "TooLargeError"
    assert int(without.header("xmatch.value.length")) == len(large.value)
    assert without.header("xmatch.value.sha256") == hashlib.sha256(large.value).hexdigest()
    second = replay(step).run()
    assert (second.total.received, second.total.dead) == (2, 2)
    _, _, *letters = read_all(step.address, step.dead)
    twice = next(letter for letter in letters if letter.value is None)
    assert f"its {len(large.value)} bytes were more than" in twice.header("xmatch.error.message")
    assert twice.header("xmatch.dead.attempts") == "2"
    for name in ("xmatch.value.sha256", "xmatch.value.length", "xmatch.source.topic", "xmatch.source.offset"):
        assert twice.header(name) == without.header(name)


def test_a_key_and_headers_that_no_topic_can_hold_are_left_behind_too(make_stream):
    small = {"max_message_bytes": 20_000}
    step = make_stream("at-least-once", out_config=small, dead_config=small)
    produce(
        step.address,
        step.topics[0],
        [Message(b"x" * 9, b"k" * 30_000), Message(b"y" * 99, b"k", [("h", b"h" * 30_000)])],
    )
    step.run()
    letters = read_all(step.address, step.dead)
    assert [(letter.key, letter.value, headers_of(letter)) for letter in letters] == [(None, None, [])] * 2
    assert [letter.header("xmatch.value.length") for letter in letters] == ["9", "99"]
    assert step.total.dead == 2


def test_a_replay_mends_what_can_be_mended_and_leaves_the_rest(stream):
    """One letter was refused for its size by a topic that has a higher limit now; one is broken for ever."""
    step = stream(out_config={"max_message_bytes": 20_000})
    produce(
        step.address, step.topics[0], [replace(sized(3, 50_000), timestamp_ms=1_700_000_000_000), Message(b"broken")]
    )
    step.run()
    second = replay(step)
    second.out = step.topics[0]  # Any topic that holds it; the dead letters stay where they were.
    second.dead_topic = step.dead
    second.run()
    assert (second.total.received, second.total.out, second.total.dead) == (2, 1, 1)
    *_, mended = read_all(step.address, step.topics[0])
    assert mended.header("xmatch.status") == "matched"
    assert [name for name, _ in mended.headers] == ["n", "xmatch.status"]
    letters = read_all(step.address, step.dead)
    assert len(letters) == 3
    assert letters[2].header("xmatch.dead.attempts") == "2"
    assert letters[2].header("xmatch.source.topic") == step.topics[0]
    third = replay(step)
    third.dead_topic = step.dead
    third.run()
    assert third.total.received == 1
