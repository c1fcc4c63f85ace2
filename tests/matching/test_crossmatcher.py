"""The engine against brute force, on copies with holes, borders and partitions of differing orders."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from distributed import LocalCluster

from tests.matching.skies import ASIN_TWO_THIRDS, catalog_frame, clump, offset, write_copy
from tests.oracle import brute_force
from tests.shared import full_size
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.errors import PartitionReadError, RadiusError, SystemFailure, UsageError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching import crossmatcher as crossmatcher_module
from xmatch_hats.matching.crossmatcher import ENGINES, CatalogTarget, Crossmatcher
from xmatch_hats.matching.partitions import PartitionIndex
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.sphere import PositionFault


def assert_exact(result, ra, dec, frame, radius, *, k=1, minimum=0.0):
    """Compare with brute force, ties by the id that the shipped definition of such columns names."""
    ids = frame["cntr"]
    expected = brute_force(ra, dec, frame["ra"], frame["dec"], radius, k=k, min_radius_arcsec=minimum, ids=ids)
    np.testing.assert_array_equal(result.left, expected.left)
    np.testing.assert_allclose(result.distance_arcsec, expected.sep_arcsec, rtol=0, atol=1e-9)
    for column in ("ra", "dec", "cntr"):
        np.testing.assert_array_equal(result.rows[column].to_numpy(), frame[column].to_numpy()[expected.right])
    matched = np.zeros(len(ra), dtype=bool)
    matched[expected.left] = True
    np.testing.assert_array_equal(result.status == MatchStatus.MATCHED, matched)
    return expected


@pytest.mark.parametrize(
    ("radius", "k", "minimum"), [(10.0, 1, 0.0), (10.0, None, 0.0), (1.0, 1, 0.0), (6.0, 3, 2.0)], ids=str
)
def test_equals_brute_force_everywhere(sky, copy_path, radius, k, minimum):
    target = CatalogTarget(copy_path, radius_arcsec=radius)
    with Crossmatcher([target], n_neighbors=k, min_radius_arcsec=minimum, workers=0) as matcher:
        result = matcher.match(sky.ra, sky.dec)["sky"]
    expected = assert_exact(result, sky.ra, sky.dec, sky.frame, radius, k=k, minimum=minimum)
    assert len(expected) > 300
    assert result.rows.schema.field("cntr").type == pa.int64()
    assert result.rank.dtype == np.int32
    assert result.rank.min() == 1


def test_the_copy_has_partitions_of_several_orders(copy_path):
    assert len({order for order, _ in open_copy(copy_path).partitions}) > 2


def test_same_answer_for_any_number_of_workers(sky, copy_path, dask_client):
    target = CatalogTarget(copy_path, radius_arcsec=10.0)
    with Crossmatcher([target], n_neighbors=2, workers=0) as matcher:
        here = matcher.match(sky.ra, sky.dec)["sky"]
    with Crossmatcher([target], n_neighbors=2, client=dask_client) as matcher:
        there = matcher.match(sky.ra, sky.dec)["sky"]
    with Crossmatcher([target], n_neighbors=2, scheduler=dask_client.scheduler.address) as matcher:
        address = matcher.match(sky.ra[:500], sky.dec[:500])["sky"]
    assert dask_client.status == "running"
    for name in ("status", "faults", "left", "rank", "distance_arcsec"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    assert here.rows.equals(there.rows)
    np.testing.assert_array_equal(address.status, here.status[:500])


def test_chunks_change_nothing(sky, copy_path, monkeypatch):
    target = CatalogTarget(copy_path, radius_arcsec=5.0)
    with Crossmatcher([target], n_neighbors=None, workers=0) as matcher:
        whole = matcher.match(sky.ra, sky.dec)["sky"]
        monkeypatch.setattr(crossmatcher_module, "CHUNK_ROWS", 701)
        parts = matcher.match(sky.ra, sky.dec)["sky"]
    np.testing.assert_array_equal(whole.left, parts.left)
    assert whole.rows.equals(parts.rows)


def test_sources_next_door_to_a_hole(tmp_path):
    """Rows on one side of partition borders, positions on the other, where the catalogue has no partition."""
    rng = np.random.default_rng(9)
    # East of a corner of base cells, and in three of the four cells at the pole.
    ra, dec = clump(rng, 45.0, 0.0, 4000, 0.02)
    pole_ra, pole_dec = clump(rng, 10.0, 90.0, 1000, 0.01)
    east, there = ra - 45.0 > 1.3 * np.abs(dec), pole_ra > 90.0
    frame = catalog_frame(rng, np.r_[ra[east], pole_ra[there]], np.r_[dec[east], pole_dec[there]])
    path = write_copy(frame, tmp_path, partition_rows=5000)
    left = offset(rng, frame["ra"], frame["dec"], 9.0)
    with Crossmatcher([CatalogTarget(path, radius_arcsec=10.0)], n_neighbors=None, workers=0) as matcher:
        result = matcher.match(*left)["sky"]
    home = PartitionIndex.from_pixels(open_copy(path).partitions).home(cells_of(*left))
    assert np.isin(result.left, np.flatnonzero(home < 0)).sum() > 100
    assert_exact(result, *left, frame, 10.0, k=None)


@pytest.mark.parametrize("place", [(180.0, -89.999), *map(full_size, [(0.0, ASIN_TWO_THIRDS), (90.0, 30.0)])], ids=str)
def test_pairs_on_either_side_of_a_border(tmp_path, place):
    rng = np.random.default_rng(10)
    frame = catalog_frame(rng, *clump(rng, *place, 2000, 1.0))
    path = write_copy(frame, tmp_path)
    left = offset(rng, frame["ra"], frame["dec"], 9.0)
    with Crossmatcher([CatalogTarget(path, radius_arcsec=10.0)], n_neighbors=None, workers=0) as matcher:
        assert_exact(matcher.match(*left)["sky"], *left, frame, 10.0, k=None)


def test_ties_do_not_depend_on_the_order_of_rows(tmp_path):
    rng = np.random.default_rng(12)
    frame = catalog_frame(rng, *clump(rng, 45.0, 0.0, 300, 0.3)).rename(columns={"cntr": "_row"})
    frame = pd.concat([frame] * 2, ignore_index=True)
    frame["_row"] = rng.permutation(len(frame)) + 9_007_199_254_740_993
    left = offset(rng, frame["ra"], frame["dec"], 3.0)
    left = np.r_[left[0], frame["ra"]], np.r_[left[1], frame["dec"]]
    expected = brute_force(*left, frame["ra"], frame["dec"], 10.0, k=2, ids=frame["_row"])
    for i in range(2):
        path = write_copy(frame.sample(frac=1, random_state=i), tmp_path / str(i))
        with Crossmatcher([CatalogTarget(path, radius_arcsec=10.0, columns=["_row"])], n_neighbors=2, workers=0) as m:
            result = m.match(*left)["sky"]
        np.testing.assert_array_equal(result.left, expected.left)
        np.testing.assert_array_equal(result.rows["_row"].to_numpy(), frame["_row"].to_numpy()[expected.right])


def test_every_row_has_one_status(sky, copy_path):
    ra = np.r_[np.nan, 10.0, np.inf, 720.5, -360.5, 10.0, sky.frame["ra"][:2], sky.frame["ra"][0] - 360.0, 250.0]
    dec = np.r_[10.0, -np.inf, np.nan, 0.0, 0.0, 90.5, sky.frame["dec"][:2], sky.frame["dec"][0], 55.0]
    with Crossmatcher([CatalogTarget(copy_path, radius_arcsec=0.5)], workers=0) as matcher:
        result = matcher.match(ra, dec)["sky"]
    rejected, matched = MatchStatus.REJECTED, MatchStatus.MATCHED
    assert result.status[:9].tolist() == [rejected] * 6 + [matched] * 3
    assert result.status[9] in (MatchStatus.UNMATCHED, MatchStatus.OUTSIDE_COVERAGE)
    fault = PositionFault
    assert result.faults.tolist() == [
        *(fault.RA_NOT_FINITE, fault.DEC_NOT_FINITE, fault.RA_NOT_FINITE),
        *(fault.RA_OUT_OF_RANGE, fault.RA_OUT_OF_RANGE, fault.DEC_OUT_OF_RANGE),
        *[fault.NONE] * 4,
    ]
    counts = result.counts()
    assert counts["in"] == 10 == sum(counts.values()) - counts["in"]


def test_matched_comes_before_coverage(sky, copy_path, monkeypatch):
    copy = open_copy(copy_path)
    asked = []

    class NorthOnly:
        def contains_discs(self, ra, dec, radius_arcsec):
            asked.append(radius_arcsec)
            return dec > 0

    object.__setattr__(copy, "coverage", NorthOnly())
    south = np.flatnonzero(sky.frame["dec"] < -1)[0]
    ra = [sky.frame["ra"][south], 77.7, 77.7]
    dec = [sky.frame["dec"][south], 33.3, -33.3]
    with Crossmatcher([CatalogTarget(copy, radius_arcsec=2.0)], workers=0) as matcher:
        labels = [MatchStatus(s).label for s in matcher.match(ra, dec)["sky"].status]
    assert labels == ["matched", "unmatched", "outside-coverage"]
    assert asked == [2.0]


def test_masked_positions_and_angles_of_other_units(sky, copy_path):
    ra, dec = sky.ra[:20], sky.dec[:20]
    hidden = np.arange(20) < 3
    with Crossmatcher([CatalogTarget(copy_path, radius_arcsec=9.0)], workers=0) as matcher:
        plain = matcher.match(ra, dec)["sky"]
        turned = matcher.match(np.radians(ra) * u.rad, np.ma.array(dec, mask=hidden))["sky"]
    assert plain.counts()["matched"] > 15
    assert turned.status.tolist() == np.where(hidden, MatchStatus.REJECTED, plain.status).tolist()


@pytest.mark.parametrize("positions", [([], []), ([np.nan] * 3, [0.0] * 3), ([12.0], [13.0]), ([5.0] * 40, [6.0] * 40)])
def test_odd_batches(copy_path, positions):
    with Crossmatcher([CatalogTarget(copy_path, radius_arcsec=1.0)], workers=0) as matcher:
        result = matcher.match(*positions)["sky"]
    assert result.num_positions == len(positions[0])
    assert len(result.left) == result.rows.num_rows == 0
    assert result.rows.column_names == ["ra", "dec", "cntr", "w1mpro", "designation"]


def test_several_catalogues_at_once(sky, copy_path, tmp_path):
    other = sky.frame.iloc[::3].reset_index(drop=True)
    path = write_copy(other, tmp_path, name="third", margin_arcsec=5.0)
    targets = [
        CatalogTarget(copy_path, "all", 10.0, ["cntr"]),
        CatalogTarget(path, None, 2.0, ["designation", "w1mpro"]),
    ]
    with Crossmatcher(targets, workers=0) as matcher:
        results = matcher.match(sky.ra, sky.dec)
        assert matcher.names == ("all", "third")
    assert list(results) == ["all", "third"]
    assert results["all"].rows.column_names == ["cntr"]
    assert results["third"].rows.column_names == ["designation", "w1mpro"]
    for name, frame, radius in (("all", sky.frame, 10.0), ("third", other, 2.0)):
        expected = brute_force(sky.ra, sky.dec, frame["ra"], frame["dec"], radius, k=1)
        np.testing.assert_array_equal(results[name].left, expected.left)
        np.testing.assert_allclose(results[name].distance_arcsec, expected.sep_arcsec, rtol=0, atol=1e-9)


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, np.inf, 10.5, 700_000.0])
def test_radii_that_cannot_be_searched(copy_path, radius):
    with pytest.raises(RadiusError) as caught:
        Crossmatcher([CatalogTarget(copy_path, radius_arcsec=radius)], workers=0)
    assert caught.value.exit_code == 2
    if radius == 10.5:
        assert str(caught.value).startswith(
            "sky: a radius of 10.5 arcsec cannot be searched: the catalogue has a margin"
        )


def test_radius_without_margin(sky, tmp_path):
    import lsdb

    bare = tmp_path / "bare"
    lsdb.from_dataframe(sky.frame[:100], margin_threshold=None).write_catalog(
        bare, catalog_name="bare", progress_bar=False, as_collection=False
    )
    with pytest.raises(RadiusError, match="no margin cache"):
        Crossmatcher([CatalogTarget(bare, radius_arcsec=0.1)], workers=0)


@pytest.mark.parametrize("minimum", [10.0, 11.0, -1.0, np.nan])
def test_minimum_radii_that_mean_nothing(copy_path, minimum):
    with pytest.raises(RadiusError, match="minimum"):
        Crossmatcher([CatalogTarget(copy_path, radius_arcsec=10.0)], min_radius_arcsec=minimum, workers=0)


def test_coverage_of_the_whole_sky_leaves_no_outside(copy_path, sky):
    copy = open_copy(copy_path)
    object.__setattr__(copy, "coverage", Coverage.all_sky())
    with Crossmatcher([CatalogTarget(copy, radius_arcsec=2.0)], workers=0) as matcher:
        counts = matcher.match(sky.ra, sky.dec)["sky"].counts()
    assert counts["outside_coverage"] == 0
    assert counts["unmatched"] > 0


def test_scheduler_without_workers(copy_path, monkeypatch):
    monkeypatch.setattr("xmatch_hats.matching.scheduling.CONNECT_SECONDS", 1.0)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        Crossmatcher([copy_path], scheduler=cluster.scheduler_address) as matcher,
        pytest.raises(SystemFailure, match="cannot connect to the Dask scheduler"),
    ):
        matcher.match([45.0], [0.0])


def test_a_closed_one_says_so(copy_path):
    matcher = Crossmatcher([copy_path], workers=0)
    matcher.close()
    with pytest.raises(UsageError, match="has been closed"):
        matcher.match([45.0], [0.0])


def test_several_share_what_they_run_on(sky, copy_path, tmp_path):
    with Scheduler(workers=0) as scheduler:
        first = Crossmatcher([CatalogTarget(copy_path, radius_arcsec=5.0)], scheduler=scheduler)
        with Crossmatcher([CatalogTarget(copy_path, radius_arcsec=1.0)], scheduler=scheduler) as second:
            second.open()
            assert second.match(sky.ra, sky.dec)["sky"].counts()["matched"] > 100
        with pytest.raises(UsageError, match="has been closed"):
            second.match([45.0], [0.0])
        assert first.match(sky.ra, sky.dec)["sky"].counts()["matched"] > 300
    with pytest.raises(UsageError, match="has been closed"):
        first.match([45.0], [0.0])


def test_a_copy_that_is_replaced_meanwhile_fails_the_batch(sky, copy_path, tmp_path):
    """Which of its rows are of the old copy, and which of the new one, nobody could tell."""
    path = shutil.copytree(copy_path, tmp_path / "copy")
    with Crossmatcher([CatalogTarget(path, radius_arcsec=5.0)], workers=0) as matcher:
        before = matcher.match(sky.ra, sky.dec)["sky"]
        shutil.move(path, tmp_path / "old")
        shutil.copytree(copy_path, path)
        with pytest.raises(PartitionReadError, match="was replaced since it was opened") as caught:
            matcher.match(sky.ra, sky.dec)
        assert caught.value.place == str(path)
        shutil.rmtree(path)
        shutil.move(tmp_path / "old", path)
        assert matcher.match(sky.ra, sky.dec)["sky"].rows.equals(before.rows)


class TestKilledWorkers:
    """Whole batches through one own cluster of two workers that are killed from outside."""

    @pytest.fixture(scope="class")
    @classmethod
    def own(cls):
        with Scheduler(workers=2) as own:
            own.connect()
            yield own

    @pytest.fixture(params=ENGINES)
    def matcher(self, own, copy_path, request):
        target = CatalogTarget(copy_path, radius_arcsec=10.0)
        with Crossmatcher([target], scheduler=own, engine=request.param) as matcher:
            yield matcher

    def kill_one(self, own):
        pid = next(iter(own._connection.client.run(os.getpid).values()))
        os.kill(pid, signal.SIGKILL)

    @pytest.mark.parametrize("matcher", ["resident", full_size("lsdb")], indirect=True)
    def test_between_batches(self, own, matcher, sky):
        first = matcher.match(sky.ra, sky.dec)["sky"]
        assert_exact(first, sky.ra, sky.dec, sky.frame, 10.0)
        self.kill_one(own)
        assert matcher.match(sky.ra, sky.dec)["sky"].rows.equals(first.rows)

    @pytest.mark.campaign
    @pytest.mark.parametrize("matcher", ["lsdb"], indirect=True)
    def test_in_the_middle_of_a_batch(self, own, matcher, sky):
        state = own._connection.cluster.scheduler
        killed = []

        def kill_at_work():
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                # Some results are there already, and are lost with it.
                if sum(task.state == "memory" for task in list(state.tasks.values())) > 5:
                    busy = next((w for w in list(state.workers.values()) if w.processing and w.has_what), None)
                    if busy is not None:
                        os.kill(pids[busy.address], signal.SIGKILL)
                        killed.append(busy.address)
                        return
                time.sleep(0.002)

        client = own._connection.client
        client.wait_for_workers(2)
        pids = client.run(os.getpid)
        killer = threading.Thread(target=kill_at_work)
        killer.start()
        result = matcher.match(sky.ra, sky.dec)["sky"]
        killer.join()
        assert len(killed) == 1
        assert_exact(result, sky.ra, sky.dec, sky.frame, 10.0)
        assert own._connection.client is client

    @pytest.mark.parametrize("delay", [0.01, 0.03])
    def test_while_partitions_are_opened(self, own, copy_path, sky, delay):
        client = own._connection.client
        client.wait_for_workers(2)
        pid = next(iter(client.run(os.getpid).values()))
        killer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
        with Crossmatcher([CatalogTarget(copy_path, radius_arcsec=10.0)], scheduler=own, cache_bytes=0) as matcher:
            matcher.open()
            killer.start()
            result = matcher.match(sky.ra, sky.dec)["sky"]
            killer.join()
        assert_exact(result, sky.ra, sky.dec, sky.frame, 10.0)
        assert own._connection.client is client
