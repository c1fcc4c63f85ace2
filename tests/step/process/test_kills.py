"""A step killed from outside, at every boundary that a batch crosses and in between, and started again."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.shared import full_size
from tests.step.process.course import BATCH, LASTING, SPILL, Course
from tests.step.process.steps import Mark

BOUNDARIES = ("consumed", "matched", "stored", "produced", "flushed", "committing", "committed")
DELIVERIES = ["at-least-once", "exactly-once"]
HARMLESS, HARMFUL = ("consumed", "matched", "stored", "committed"), ("flushed", "committing")
"""Where a kill repeats nothing, and where it must repeat something; elsewhere it may."""
BRINKS = ("stored", "produced", "committing")
LONGEST_LIFE = 1.0
"""Seconds after which a step that is killed at random is dead; it takes half a second to begin."""


@dataclass(frozen=True)
class Kills:
    """How many times a step is killed, and where."""

    at_each: int = 1
    """At each boundary, where it stands still."""
    past_each: int = 0
    """A few milliseconds behind each of `BRINKS`: while it produces, waits for confirmations, and commits."""
    at_random: int = 2

    def in_turn(self, rng: random.Random) -> list[str]:
        """Kinds of kills, mixed."""
        brinks = [f"past {boundary}" for boundary in BRINKS * self.past_each]
        kinds = [*BOUNDARIES * self.at_each, *brinks, *["at random"] * self.at_random]
        rng.shuffle(kinds)
        return kinds


def kill(course: Course, kind: str, batch: int, rng: random.Random) -> None:
    """Start a step, and kill it."""
    boundary = kind.removeprefix("past ")
    mark = None if kind == "at random" else Mark(boundary, batch, stays=boundary == kind)
    step = course.start(mark=mark, CONSUMER_CONF=LASTING)
    if mark is None:
        time.sleep(rng.uniform(0.0, LONGEST_LIFE))
    else:
        step.arrives()
    if boundary != kind:
        time.sleep(rng.uniform(0.0, 0.01))
    step.kill()


def run_killed(course: Course, kills: Kills) -> Counter[str]:
    """Kill, start again, and kill, then finish; gives the kills by kind."""
    rng = random.Random(len(course.stream.alerts))
    kinds = kills.in_turn(rng)
    for kind, batch in zip(kinds, itertools.cycle((1, 2, 1, 3))):
        kill(course, kind, batch, rng)
    assert course.committed() < len(course.stream.alerts), "the stream was over before the last kill"
    course.finish(CONSUMER_CONF=LASTING)
    return Counter(kinds)


def check_killed(course: Course, undisturbed: Course, wanted: Kills, record_property) -> None:
    started = time.monotonic()
    with course.follow() as follower:
        kills = run_killed(course, wanted)
    outputs = course.outputs()
    record_property("kills", dict(kills))
    record_property("alerts", len(course.stream.alerts))
    record_property("lost", outputs.lost)
    record_property("repeats", outputs.repeats)
    outputs.check()
    jumps = outputs.jumps()
    seen = sorted(follower.messages, key=lambda message: message.place)
    assert [message.place for message in seen] == [message.place for message in outputs.messages]
    if course.delivery == "exactly-once":
        assert (outputs.repeats, jumps) == (0, [])
        # The kills did hit transactions that were under way.
        aborted = course.aborted()
        record_property("messages in aborted transactions", aborted)
        assert aborted > 0
    else:
        assert outputs.repeats == sum(jump.alerts for jump in jumps)
        # At most one batch for each kill, and none for one before anything was produced, or after the commit.
        by_partition = Counter(jump.partition for jump in jumps)
        assert max(by_partition.values()) <= sum(kills.values()) - sum(kills[kind] for kind in HARMLESS)
        assert max(jump.alerts for jump in jumps) <= BATCH + SPILL
        assert len(jumps) >= sum(kills[kind] for kind in HARMFUL)
        record_property("largest repeat in a partition", max(jump.alerts for jump in jumps))
    assert course.tables() == undisturbed.tables()
    assert course.committed() == len(course.stream.alerts)
    record_property("seconds", round(time.monotonic() - started, 1))


@pytest.fixture(scope="module")
def undisturbed(begin_course, make_stream):
    """A course that nobody disturbs, done."""
    course = begin_course(make_stream(4000))
    course.finish()
    course.check_tables()
    return course


# The ordinary run has the other delivery in `test_group`, where a member is killed, too.
@pytest.mark.parametrize("delivery", [full_size("at-least-once"), "exactly-once"])
def test_a_step_killed_at_every_boundary_loses_nothing(make_course, undisturbed, delivery, record_property):
    course = make_course(like=undisturbed, delivery=delivery)
    check_killed(course, undisturbed, Kills(), record_property)


@pytest.fixture(scope="module")
def undisturbed_night(begin_course, make_stream):
    """A long course that nobody disturbs, done."""
    course = begin_course(make_stream(20_000, seed=4))
    course.finish()
    course.check_tables()
    return course


@pytest.mark.campaign
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_twenty_thousand_alerts_under_many_kills(make_course, undisturbed_night, delivery, record_property):
    course = make_course(like=undisturbed_night, delivery=delivery)
    check_killed(course, undisturbed_night, Kills(6, 6, 30), record_property)
