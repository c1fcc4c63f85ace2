"""Five million rows by twenty million: killed twenty times, and in a worker's memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests.bulk.catalogs.large import make_large, nearest
from tests.bulk.catalogs.skies import read_rows
from tests.bulk.catalogs.test_kills import killed_again_and_again
from tests.bulk.catalogs.test_run import data_of
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.runs.watch import Listener
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.matching.scheduling import Scheduler

pytestmark = pytest.mark.campaign

LEFT_ROWS, RIGHT_ROWS, RADIUS_ARCSEC = 5_000_000, 20_000_000, 1.0


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """In partitions of usual size."""
    folder = tmp_path_factory.mktemp("large")
    return folder, *make_large(folder, LEFT_ROWS, RIGHT_ROWS, (5, 5))


def test_killed_twenty_times(large, tmp_path, record_property):
    folder, left, right = large
    sides = [str(folder / "left"), str(folder / "right")]
    whole = crossmatch_catalogs(*sides, tmp_path / "whole", radius_arcsec=RADIUS_ARCSEC, workers=2)
    rows = read_rows(tmp_path / "whole")
    order = np.argsort(rows["oid"].to_numpy())
    expected = nearest(left, right, RADIUS_ARCSEC)
    np.testing.assert_array_equal(rows["oid"].to_numpy()[order], expected[0])
    np.testing.assert_array_equal(rows["cntr"].to_numpy()[order], expected[1])
    verify_copy(tmp_path / "whole").raise_if_failed()
    words = ["bulk", "catalogs", *sides, "--radius", str(RADIUS_ARCSEC), "--workers", "2"]
    told = killed_again_and_again([*words, "--out", str(tmp_path / "out")], tmp_path / "out", 20, whole.units)
    record_property("units", told["units"])
    record_property("units_skipped", told["units_skipped"])
    assert data_of(tmp_path / "out") == data_of(tmp_path / "whole")


class _Peaks(Listener):
    """Asks the workers for the most memory that they took, as units are done."""

    def __init__(self, scheduler):
        self._scheduler = scheduler
        self.peak = 0

    def show(self, stage, progress):
        client = self._scheduler._connected()
        self.peak = max([self.peak, *client.run(_peak_bytes).values()])


def _peak_bytes() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


@pytest.mark.parametrize("gib", [1, 4])
def test_a_worker_stays_within_its_memory(tmp_path, record_property, gib):
    """Partitions of fifteen million rows, which do not fit."""
    make_large(tmp_path, LEFT_ROWS, RIGHT_ROWS, (1, 1))
    pa.default_memory_pool().release_unused()
    with Scheduler(workers=1) as scheduler:
        peaks = _Peaks(scheduler)
        joined = crossmatch_catalogs(
            tmp_path / "left", tmp_path / "right", tmp_path / "out", radius_arcsec=RADIUS_ARCSEC, join="left",
            scheduler=scheduler, memory_per_worker=gib << 30, listener=peaks,
        )  # fmt: skip
    record_property("peak_bytes", peaks.peak)
    assert joined.left_rows == LEFT_ROWS
    assert 0 < peaks.peak <= gib << 30
