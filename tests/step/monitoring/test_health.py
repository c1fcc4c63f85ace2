from __future__ import annotations

import pytest

from xmatch_hats.step.monitoring.health import Health

COMPONENTS = ("joined", "catalogue", "dask", "database", "producer")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(loop_seconds=30, worker_seconds=600, clock=clock)


def test_a_start_may_take_long(health, clock):
    clock.now += 1e6
    assert health.live()[0]


@pytest.mark.parametrize(("who", "limit"), [("loop", 30), ("worker", 600)])
def test_who_does_not_move_within_the_limit_is_stalled(health, clock, who, limit):
    health.beat(who)
    clock.now += limit
    assert health.live()[0]
    clock.now += 0.5
    live, told = health.live()
    assert not live
    assert told["live"] is False
    assert told[who] == {"seconds": limit + 0.5, "limit": limit}
    health.beat(who)
    assert health.live()[0]


def test_an_idle_worker_cannot_be_stalled(health, clock):
    health.beat("worker")
    health.idle("worker")
    clock.now += 1e6
    live, told = health.live()
    assert live
    assert told["worker"]["seconds"] is None
    health.beat("worker")
    clock.now += 601
    assert not health.live()[0]


def test_a_moving_loop_does_not_excuse_a_worker(health, clock):
    health.beat("worker")
    for _ in range(61):
        clock.now += 10
        health.beat("loop")
    live, told = health.live()
    assert not live
    assert told["loop"]["seconds"] == 0
    assert told["worker"]["seconds"] == 610


def test_ready_when_every_expected_component_is(health):
    for component in COMPONENTS:
        health.expect(component)
    for number, component in enumerate(COMPONENTS):
        ready, told = health.ready()
        assert not ready
        assert told == {
            "ready": False,
            "waiting_for": dict.fromkeys(COMPONENTS[number:], "not yet"),
            "ok": list(COMPONENTS[:number]),
        }
        health.set(component, True)
    assert health.ready() == (True, {"ready": True, "waiting_for": {}, "ok": list(COMPONENTS)})


def test_a_failure_and_its_end_are_told(health):
    health.expect("database")
    health.set("database", True)
    health.set("database", False, "db.example:5432: connection refused")
    ready, told = health.ready()
    assert not ready
    assert told["waiting_for"] == {"database": "db.example:5432: connection refused"}
    health.set("database", True, "ignored")
    assert health.ready()[0]


def test_a_failure_without_a_reason_is_a_failure(health):
    health.set("dask", False)
    assert health.ready()[1]["waiting_for"] == {"dask": "does not work"}


def test_expecting_again_forgets_nothing(health):
    health.set("dask", True)
    health.expect("dask")
    assert health.ready()[0]


def test_a_step_that_has_not_begun_is_not_ready(health):
    ready, told = health.ready()
    assert not ready
    assert told["waiting_for"] == {"start": "not yet"}
