"""What a run will cost, said by a few of its tasks."""

from __future__ import annotations

import pytest

from tests.bulk.runs import works
from xmatch_hats.bulk.runs.estimate import choose_sample, estimate_run
from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.errors import OutputError, PartitionReadError


def test_the_sample_stands_for_small_and_large():
    assert choose_sample([]) == []
    assert choose_sample([5, 0, 3]) == [2, 0]
    assert choose_sample([7] * 3) == [0, 1, 2]
    sizes = list(range(600, 0, -1))
    assert [sizes[number] for number in choose_sample(sizes)] == [1, 101, 301, 501]
    assert len(choose_sample([1] * 1000)) == 4


def make_sample(folder, numbers):
    return [Task(f"n{number}", 100, works.grow, (number, 250, folder)) for number in numbers]


def test_bytes_time_and_room(tmp_path):
    out = tmp_path / "new" / "out"
    found = estimate_run([100] * 1000, make_sample, out, workers=4, skipped=7, on_disk=2.0)
    assert (found.tasks, found.skipped, found.size, found.workers, found.sampled) == (1000, 7, 100_000, 4, 3)
    assert found.disk_needed == 500_000
    assert found.disk_free > 0
    assert found.has_room
    assert found.seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_to_do(tmp_path):
    found = estimate_run([], make_sample, tmp_path / "out", workers=2, skipped=3)
    assert (found.tasks, found.size, found.seconds, found.disk_needed, found.sampled) == (0, 0, 0, 0, 0)


def test_more_is_needed_than_there_is(tmp_path):
    assert not estimate_run([100, 1 << 60], make_sample, tmp_path / "out", workers=1).has_room


def test_a_sample_that_fails_leaves_nothing(tmp_path):
    def make_bad(folder, numbers):
        return [Task(f"n{number}", 100, works.unreadable, ("here", folder)) for number in numbers]

    with pytest.raises(PartitionReadError, match="here: cannot be read"):
        estimate_run([100] * 9, make_bad, tmp_path / "out", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_no_way_to_write(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        estimate_run([100], make_sample, tmp_path / ("long" * 100), workers=1)
