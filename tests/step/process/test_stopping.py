"""A step that is told to stop, whatever it is doing: it ends in good order, and the next one goes on."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.shared import full_size
from tests.step.process.course import LASTING, SPILL, Course
from tests.step.process.steps import Mark, Step

DELIVERIES = ["at-least-once", "exactly-once"]
BOUND = 10.0
"""Seconds within which a step that is told to stop has ended."""


@pytest.fixture(scope="module")
def undisturbed(begin_course, make_stream) -> Course:
    course = begin_course(make_stream(600, seed=2))
    course.finish()
    course.check_tables()
    return course


@pytest.fixture(params=DELIVERIES)
def course(request, make_course, undisturbed) -> Course:
    return make_course(like=undisturbed, delivery=request.param)


once_more = pytest.mark.parametrize("course", ["at-least-once", full_size("exactly-once")], indirect=True)
exactly_once = pytest.mark.parametrize("course", [full_size("at-least-once"), "exactly-once"], indirect=True)
"""One delivery will do, and the campaign has both."""


@pytest.fixture
def stop(record_property):
    """Tell a step to end, and see it do so in good order and in time."""

    def tell(step: Step, number: int = signal.SIGTERM) -> None:
        code, seconds = step.terminate(number, timeout_s=BOUND)
        record_property("seconds to end", round(seconds, 2))
        assert code == 0, step.log[-4000:]

    return tell


def check_whole(course: Course, undisturbed: Course) -> int:
    """Have the rest done and see that everything is there; gives the number of repeats."""
    course.finish(CONSUMER_CONF=LASTING)
    outputs = course.outputs()
    outputs.check()
    assert course.tables() == undisturbed.tables()
    if course.delivery == "exactly-once":
        assert outputs.repeats == 0
    for jump in outputs.jumps():
        assert jump.alerts <= course.batch + SPILL
    return outputs.repeats


def works(step, batches: int = 2) -> None:
    step.until(lambda: step.batches >= batches, f"batch {batches}")


@once_more
@pytest.mark.parametrize("number", [signal.SIGTERM, full_size(signal.SIGINT)])
def test_under_load(course, undisturbed, stop, number):
    step = course.start()
    works(step)
    stop(step, number)
    done = course.committed()
    outputs = course.outputs()
    assert 2 * course.batch <= done < len(course.stream.alerts)
    # What is committed is out, and nothing else is.
    assert len(set(outputs.numbers)) == len(outputs.numbers) == done
    assert "gave up 4 partitions" in step.log
    assert check_whole(course, undisturbed) == 0


@pytest.mark.parametrize("boundary", ["flushed", full_size("matched"), full_size("produced")])
def test_with_a_batch_that_does_not_end(course, undisturbed, stop, boundary):
    step = course.start(mark=Mark(boundary, 2), STOP_TIMEOUT="1.5")
    step.arrives()
    stop(step)
    repeats = check_whole(course, undisturbed)
    assert (repeats > 0) == (course.delivery == "at-least-once" and boundary != "matched")


@once_more
def test_while_the_database_is_down(course, undisturbed, stop, postgres):
    step = course.start()
    works(step)
    postgres.stop()
    step.says("waiting for database")
    stop(step)
    postgres.start()
    assert check_whole(course, undisturbed) == 0


@exactly_once
def test_while_the_broker_is_down(course, undisturbed, stop, kafka):
    step = course.start(CONSUMER_CONF=LASTING, STOP_TIMEOUT="2")
    works(step)
    kafka.stop(kill=True)
    step.says("waiting for")
    stop(step)
    kafka.start()
    check_whole(course, undisturbed)


@pytest.mark.campaign
def test_while_the_broker_does_not_answer(course, undisturbed, stop, kafka):
    step = course.start(CONSUMER_CONF=LASTING)
    works(step)
    kafka.pause()
    time.sleep(2.0)
    stop(step)
    kafka.resume()
    check_whole(course, undisturbed)


@once_more
def test_at_the_start_while_the_database_is_down(course, undisturbed, stop, postgres):
    postgres.stop()
    step = course.start()
    step.says("waiting for database")
    stop(step)
    postgres.start()
    assert check_whole(course, undisturbed) == 0


@pytest.mark.campaign
def test_at_the_start_while_the_broker_is_down(course, undisturbed, stop, kafka):
    kafka.stop(kill=True)
    step = course.start()
    step.says("waiting for producer")
    stop(step)
    kafka.start()
    assert check_whole(course, undisturbed) == 0


@once_more
@pytest.mark.parametrize("number", [signal.SIGTERM, full_size(signal.SIGINT)])
def test_a_second_signal_ends_it_at_once(course, undisturbed, postgres, number):
    step = course.start(CONSUMER_CONF=LASTING)
    works(step)
    postgres.stop()
    step.says("waiting for database")
    step.send(number)
    step.says("told to stop")
    code, _ = step.terminate(number, timeout_s=BOUND)
    assert code == 128 + number
    assert "abandoned" not in step.log
    postgres.start()
    assert check_whole(course, undisturbed) == 0


@pytest.mark.campaign
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_at_any_moment_again_and_again(make_course, make_stream, delivery, record_property):
    course = make_course(make_stream(40_000, seed=5), delivery=delivery)
    rng = random.Random(5)
    seconds = []
    with course.follow() as follower:
        for _ in range(25):
            step = course.start()
            step.says("reading topics")
            time.sleep(rng.uniform(0.0, 1.5))
            code, took = step.terminate(rng.choice([signal.SIGTERM, signal.SIGINT]), timeout_s=BOUND)
            assert code == 0, step.log[-4000:]
            seconds.append(took)
        assert course.committed() < len(course.stream.alerts), "the stream was over before the last signal"
        course.finish()
    outputs = course.outputs()
    record_property("signals", len(seconds))
    record_property("longest seconds to end", round(max(seconds), 2))
    record_property("lost", outputs.lost)
    record_property("repeats", outputs.repeats)
    outputs.check()
    assert outputs.repeats == 0
    assert sorted(m.place for m in follower.messages) == [m.place for m in outputs.messages]
    course.check_tables()
