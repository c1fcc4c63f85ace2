from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.alerts.makers import pack, small_alert, unpack
from tests.services.topics import Message, committed, end_offsets, produce, read_all
from tests.step.settings.world import KAFKA, load
from xmatch_hats.step.reading import dead_letter_reading, stream_reading

PARTITIONS = 2
COUNT = 60


def candids(world) -> list[int]:
    return [unpack(message.value)[0]["candid"] for message in read_all(world.address, world.out)]


@pytest.fixture
def started_ms() -> int:
    """An hour ago; the retention of a topic takes what is much older."""
    return int(time.time() - 3600) * 1000


@pytest.fixture
def world(make_world, started_ms):
    """A topic with one alert a second, spread over its partitions."""
    world = make_world(partitions=PARTITIONS)
    produce(world.address, world.topic, alerts(started_ms, range(COUNT)))
    return world


def alerts(started_ms: int, numbers: range) -> list[Message]:
    return [
        Message(pack([small_alert(i)]), timestamp_ms=started_ms + 1000 * i, partition=i % PARTITIONS) for i in numbers
    ]


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


def test_a_span_of_time_is_replayed_once_in_a_group_of_its_own(world, started_ms):
    span = {"REPLAY_FROM": iso(started_ms + 10_000), "REPLAY_UNTIL": iso(started_ms + 30_001)}
    total = world.run(ENABLE_PARTITION_EOF=None, **span)
    assert total.out == 21
    assert sorted(candids(world)) == list(range(10, 31))
    assert committed(world.address, world.group, world.topic) == {}
    assert world.run(ENABLE_PARTITION_EOF=None, **span).received == 0
    # Another millisecond is another replay.
    span["REPLAY_FROM"] = iso(started_ms + 9_999)
    assert world.run(ENABLE_PARTITION_EOF=None, **span).received == 21
    assert world.run().received == COUNT


def test_an_interrupted_replay_is_resumed(world, started_ms):
    span = {"REPLAY_FROM": iso(started_ms + 10_000), "REPLAY_UNTIL": iso(started_ms + 50_000)}
    with world.running(CONSUME_MESSAGES="4", **span) as step:
        step.until(lambda: step.batches >= 2, "two batches")
    first = candids(world)
    assert 8 <= len(first) < 40
    world.run(ENABLE_PARTITION_EOF=None, **span)
    assert sorted(candids(world)) == list(range(10, 50))


def test_a_replay_without_an_end_goes_to_what_is_there_and_ends(world, started_ms):
    assert world.run(REPLAY_FROM=iso(started_ms + 55_000)).received == 5
    assert sorted(candids(world)) == list(range(55, COUNT))


def test_a_replay_without_a_beginning_begins_at_the_first(world, started_ms):
    assert world.run(REPLAY_UNTIL=iso(started_ms + 5_000), ENABLE_PARTITION_EOF=None).received == 5


def test_a_replay_of_a_time_without_messages_ends(world, started_ms):
    for start, stop in ((-9_000, -5_000), (COUNT * 1000, COUNT * 1000 + 5_000), (10_100, 10_900)):
        span = {"REPLAY_FROM": iso(started_ms + start), "REPLAY_UNTIL": iso(started_ms + stop)}
        assert world.run(ENABLE_PARTITION_EOF=None, **span).received == 0


def test_a_replay_that_ends_in_the_future_waits_for_its_end(world):
    until_ms = int((time.time() + 4) * 1000)
    with world.running(REPLAY_UNTIL=iso(until_ms)) as step:
        step.until(lambda: step.batches >= 1, "what is there")
        produce(world.address, world.topic, alerts(until_ms - 1 - 1000 * COUNT, range(COUNT, COUNT + 1)))
        step.until(lambda: step.total is not None, "its end")
    assert sorted(candids(world)) == list(range(COUNT + 1))


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_replay_runs_beside_the_step(make_world, started_ms, delivery):
    world = make_world(partitions=1)
    with world.running(DELIVERY=delivery) as step:
        produce(world.address, world.topic, alerts(started_ms, range(0, 10, 2)))
        step.until(lambda: step.batches >= 1, "its batch")
        done = step.batches
        world.run(REPLAY_FROM=iso(started_ms), DELIVERY=delivery)
        produce(world.address, world.topic, alerts(started_ms, range(10, 12, 2)))
        step.until(lambda: step.batches > done, "another batch")
    assert candids(world) == [0, 2, 4, 6, 8, 0, 2, 4, 6, 8, 10]
    ends = end_offsets(world.address, world.topic)
    assert committed(world.address, world.group, world.topic) == ends


def test_who_keeps_account():
    settings = load(**KAFKA)
    reading = stream_reading(settings)
    assert (reading.group, reading.span, reading.until_end, reading.role) == ("group", None, False, "consumer")
    assert reading.transactional_id == settings.transaction_id
    letters = dead_letter_reading(settings)
    assert (letters.group, letters.plan.topics, letters.role) == ("group.dead-letters", ("xmatch_dlq",), "producer")
    assert letters.transactional_id == f"{settings.transaction_id}.dead-letters"
    replay = stream_reading(load(REPLAY_FROM="2024-01-31T01:00:00.5Z", REPLAY_UNTIL="2024-02-01", **KAFKA))
    assert replay.group == "group.replay.20240131T010000.500-20240201T000000.000"
    assert replay.transactional_id.endswith(".replay.20240131T010000.500-20240201T000000.000")
    assert (replay.span.start_ms, replay.span.stop_ms) == (1706662800500, 1706745600000)
