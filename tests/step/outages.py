"""What tests of outages share: work for a step while something is broken, and what must come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from tests.services.follower import Follower
from tests.services.topics import committed, produce, read_all
from tests.step.process.sky import Sky
from tests.step.running import Running, World, assert_answers

RESUMED_WITHIN_S = 30.0
"""Of the repair, as the step promises."""
THIRD = 80


@contextmanager
def broken(step: Running, component: str, says: str, *, mend: Callable[[], object]) -> Iterator[None]:
    """Something is broken, and inside of the block a step has work that needs it; mended at the end.

    The step has to say what it waits for, in its log and to whoever asks whether it is ready.
    """
    yield
    step.says(f"waiting for {component}: ")
    step.until(lambda: component in step.waits_for(), f"{component} in /ready")
    assert says in step.waits_for()[component]
    assert step.ask("/live")[0] == 200
    mended, batches = time.monotonic(), step.batches
    mend()
    step.until(lambda: step.batches > batches, "the next batch", RESUMED_WITHIN_S + time.monotonic() - mended)
    step.until(step.is_ready, "readiness")
    assert f"{component} works again after " in step.log


def feed(world: World, sky: Sky, part: int) -> None:
    """Produce a third of the alerts."""
    produce(world.address, world.topic, sky.messages[part * THIRD : (part + 1) * THIRD])


def wait_for_all(world: World, step: Running, count: int) -> None:
    with Follower(world.address, world.out) as follower:
        step.until(lambda: len(follower) >= count, f"{count} alerts")
    step.until(lambda: sum(committed(world.address, world.group, world.topic).values()) >= count, "their commit")


def assert_all_went_well(world: World, sky: Sky) -> None:
    """Every alert came out once, with the answer of brute force, and none was set aside."""
    assert_answers(sky, read_all(world.address, world.out))
    assert read_all(world.address, world.dead) == []


def workers_of_this_process() -> set[int]:
    """Processes of Dask's workers: forked by the server for that, or begun anew by their nannies."""
    return {
        child.pid
        for child in psutil.Process().children(recursive=True)
        if "multiprocessing.spawn" in _words(child) or "multiprocessing.forkserver" in _words(child.parent())
    }


def _words(process: psutil.Process | None) -> str:
    return " ".join(process.cmdline()) if process else ""
