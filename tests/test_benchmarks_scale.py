"""The model of large joins: what it must give where the answer is plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scale import (
    ALLWISE_ROWS,
    CORES,
    FOOTPRINT,
    SURVEYS,
    Costs,
    draw_units,
    forecast,
    messages,
    predict,
    schedule,
)
from xmatch_hats.bulk.runs.dispatch import MESSAGE_SECONDS, MESSAGE_TASKS

COSTS = Costs(
    left_partition=0.01, right_partition=0.01, left_row=1e-6, right_row=1e-7, margin=0.01, message=0.002, start=1.0,
    finish=0.002, left_bytes=20.0, right_bytes=30.0, written_bytes=40.0,
)  # fmt: skip
SIZES = [20_000, 60_000, 131_000, 90_000, 1_000, 50_000, 70_000]


def test_equal_units_are_shared_out_evenly() -> None:
    assert schedule(np.full(120, 1.0), 12, 0.0) == pytest.approx(10.0)


def test_the_last_unit_is_waited_for() -> None:
    assert schedule(np.array([*np.full(8, 1.0), 5.0]), 4, 0.0) == pytest.approx(7.0)
    assert schedule(np.array([5.0, *np.full(8, 1.0)]), 4, 0.0) == pytest.approx(5.0)


def test_one_client_bounds_many_workers() -> None:
    seconds = schedule(np.full(1_000, 0.3), 10_000, 0.01)
    assert seconds == pytest.approx(1_000 * 0.01 + 0.3)


def test_no_schedule_beats_the_even_share_or_the_largest_unit() -> None:
    seconds = np.random.default_rng(1).exponential(1.0, 500)
    for workers in (1, 2, 16, 120):
        found = schedule(seconds, workers, 0.0)
        assert found >= max(seconds.sum() / workers, seconds.max()) - 1e-9
        # Graham's bound of list scheduling, of messages rather than of units.
        assert found <= seconds.sum() / workers + max(messages(seconds))


def test_small_tasks_travel_together() -> None:
    assert messages(np.full(10, MESSAGE_SECONDS / 4)) == pytest.approx(
        [MESSAGE_SECONDS, MESSAGE_SECONDS, MESSAGE_SECONDS / 2]
    )
    assert len(messages(np.full(10 * MESSAGE_TASKS, 1e-6))) == 10
    assert messages(np.array([1.0, 2.0])) == [1.0, 2.0]


@pytest.mark.parametrize("survey", SURVEYS)
def test_units_hold_every_row_and_partition(survey: str) -> None:
    rows, partitions = SURVEYS[survey]
    units = draw_units(rows, partitions, 50_000, SIZES)
    right = ALLWISE_ROWS * FOOTPRINT
    assert units.sum(axis=0) == pytest.approx([partitions, right / 50_000, rows, right])
    assert len(units) == round(min(partitions, right / 50_000))
    # As unequal as the partitions they were drawn from.
    assert units[:, 2].max() / units[:, 2].mean() == pytest.approx(max(SIZES) / np.mean(SIZES), rel=0.1)


def test_more_cores_take_less_until_one_process_bounds_them() -> None:
    lines = [line for line in forecast(COSTS, SIZES, 50_000) if line["survey"] == next(iter(SURVEYS))]
    seconds = [line["seconds"] for line in lines]
    assert [line["cores"] for line in lines] == list(CORES)
    assert seconds == sorted(seconds, reverse=True)
    assert all(line["seconds"] >= line["balanced"] + line["alone"] for line in lines)
    assert all(line["shared"] >= line["NVMe"] >= line["seconds"] for line in lines)


def test_a_run_is_the_sum_of_its_parts_on_one_core() -> None:
    units = np.array([[1, 2, 1e6, 4e6], [3, 1, 2e6, 1e6]])
    costs = replace(COSTS, message=0.0)
    expected = 1.0 + 4 * (0.002 + 0.01 + 0.01) + 3 * 0.01 + 3.0 + 0.5
    assert predict(units, costs, 1) == pytest.approx(expected)
