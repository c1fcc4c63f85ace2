"""Several steps in one group: they come, leave and die under load."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.services.follower import Follower
from tests.services.postgres import connect
from tests.shared import full_size
from tests.step.process.course import NIMBLE, SPILL, Course
from tests.step.process.steps import PATIENCE, Step


def works(step: Step, batches: int = 1) -> None:
    """Wait until a step has done so many batches more."""
    wanted = step.batches + batches
    step.until(lambda: step.batches >= wanted, f"batch {wanted}")


@pytest.fixture(params=["at-least-once", full_size("exactly-once")])
def make_group(request, make_course, make_stream):
    """Make a course for a group of steps."""
    return lambda count, **more: make_course(make_stream(count, seed=1), delivery=request.param, **more)


SLOW = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN NULL; END $$;
CREATE TRIGGER wait BEFORE INSERT ON xmatch EXECUTE FUNCTION wait();
"""


@contextmanager
def slow_batches(course: Course) -> Iterator[None]:
    """Have every batch take a while, so that the stream is not over before everybody has come and gone.

    Each row is a statement, and a batch has some dozens of them.
    """
    assert course.database is not None
    with connect(course.database) as connection:
        connection.execute(SLOW)
    yield
    assert course.committed() < len(course.stream.alerts), "the stream was over before everybody had come and gone"
    with connect(course.database) as connection:
        connection.execute("DROP FUNCTION wait CASCADE")


def begin(course: Course, name: str) -> Step:
    return course.start(name, CONSUMER_CONF=NIMBLE)


def check_group(course: Course, follower: Follower, kills: int, record_property) -> None:
    outputs = course.outputs()
    record_property("alerts", len(course.stream.alerts))
    record_property("lost", outputs.lost)
    record_property("repeats", outputs.repeats)
    outputs.check()
    assert sorted(m.place for m in follower.messages) == [m.place for m in outputs.messages]
    jumps = outputs.jumps()
    if course.delivery == "exactly-once":
        assert jumps == []
        assert outputs.repeats == 0
    # Whoever leaves commits first; only one that was killed leaves something to be repeated.
    assert max(Counter(jump.partition for jump in jumps).values(), default=0) <= kills
    assert all(jump.alerts <= course.batch + SPILL for jump in jumps)
    course.check_tables()


def test_members_come_and_go(make_group, record_property):
    """One, two and three members; one leaves, one dies, and another takes its place."""
    course = make_group(4000)
    with course.follow() as follower:
        with slow_batches(course):
            first = begin(course, "a")
            works(first)
            second = begin(course, "b")
            works(second)
            third = begin(course, "c")
            for step in (third, second, first):
                works(step)
            stop(second)
            works(third)
            first.kill()
            works(third)
            heir = begin(course, "a")
            works(heir)
        wait_for_the_end(course, heir)
        for step in (third, heir):
            stop(step)
    check_group(course, follower, 1, record_property)


@pytest.mark.campaign
def test_a_night_of_coming_and_going(make_group, record_property):
    course = make_group(30_000, batch=25)
    rng = random.Random(1)
    events = ["leaves", "dies"] * 10
    rng.shuffle(events)
    with course.follow() as follower:
        with slow_batches(course):
            steps = {name: begin(course, name) for name in "abc"}
            for event in events:
                name = rng.choice("abc")
                works(steps[name])
                stop(steps[name]) if event == "leaves" else steps[name].kill()
                time.sleep(rng.uniform(0.0, 3.0))
                steps[name] = begin(course, name)
        wait_for_the_end(course, steps["a"])
        for step in steps.values():
            stop(step)
    record_property("events", dict(Counter(events)))
    check_group(course, follower, events.count("dies"), record_property)


@pytest.mark.campaign
def test_a_member_that_was_given_up_comes_back(make_group, record_property):
    """Halted for longer than the group waits, at any moment, it goes on with what is no longer its own."""
    course = make_group(10_000, with_database=False, batch=25)
    rng = random.Random(2)
    with course.follow() as follower:
        steps = {name: begin(course, name) for name in "ab"}
        for _ in range(8):
            name = rng.choice("ab")
            works(steps[name])
            time.sleep(rng.uniform(0.0, 0.3))
            steps[name].send(signal.SIGSTOP)
            time.sleep(9.0)
            steps[name].send(signal.SIGCONT)
        wait_for_the_end(course, steps["a"])
        for step in steps.values():
            stop(step)
    outputs = course.outputs()
    record_property("lost", outputs.lost)
    record_property("repeats", outputs.repeats)
    outputs.check()
    assert sorted(m.place for m in follower.messages) == [m.place for m in outputs.messages]
    if course.delivery == "exactly-once":
        assert outputs.jumps() == []


def wait_for_the_end(course: Course, step: Step) -> None:
    step.until(lambda: course.committed() == len(course.stream.alerts), "the end of the stream", 10 * PATIENCE)


def stop(step: Step) -> None:
    code, _ = step.terminate(timeout_s=10)
    assert code == 0, step.log[-4000:]
