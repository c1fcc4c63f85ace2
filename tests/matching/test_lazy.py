"""LSDB catalogues on the left: lazy, in their own order, and exact across partitions that do not fit together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.oracle import brute_force
from xmatch_hats import crossmatch, open_catalog
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.errors import PartitionReadError, RadiusError, TableError, UsageError

BIG = 9_007_199_254_740_993
FINE, COARSE = 200, 100_000
"""Rows of a partition of the left side."""
RULES = [(1, 0.0), (None, 0.0), (2, 1.0)]
"""Number of neighbours, minimum."""
QUICK = {(FINE, 1, 0.0), (FINE, 2, 1.0), (COARSE, None, 0.0)}
"""Those of every run; LSDB takes seconds for each, and the campaign has all."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(FINE, id="fine left"), pytest.param(COARSE, id="coarse left", marks=pytest.mark.campaign)],
)
def left(sky, request):
    import lsdb

    ra, dec = sky.ra[::6], sky.dec[::6]
    frame = pd.DataFrame({"ra": ra, "dec": dec, "objid": np.arange(len(ra)) + BIG})
    return lsdb.from_dataframe(frame, partition_rows=request.param, margin_threshold=None, highest_order=7)


@pytest.mark.parametrize(
    ("left", "k", "minimum"),
    [
        pytest.param(rows, *rule, marks=() if (rows, *rule) in QUICK else pytest.mark.campaign)
        for rows in (FINE, COARSE)
        for rule in RULES
    ],
    indirect=["left"],
)
def test_equals_brute_force_in_its_own_order(sky, copy_path, left, k, minimum):
    lazy = crossmatch(left, copy_path, 8.0, n_neighbors=k, min_radius=minimum)
    before, out = left.compute(progress_bar=False), lazy.compute(progress_bar=False)
    pairs = brute_force(
        before["ra"], before["dec"], sky.frame["ra"], sky.frame["dec"], 8.0, k=k, min_radius_arcsec=minimum
    )
    counts = np.bincount(pairs.left, minlength=len(before))
    rows = np.repeat(np.arange(len(before)), np.maximum(counts, 1))
    np.testing.assert_array_equal(out["objid"].to_numpy(), before["objid"].to_numpy()[rows])
    np.testing.assert_array_equal(out.index.to_numpy(), before.index.to_numpy()[rows])
    matched = (out["_status"] == "matched").to_numpy(dtype=bool)
    np.testing.assert_array_equal(matched, counts[rows] > 0)
    np.testing.assert_allclose(out["_dist_arcsec"].to_numpy(dtype=float)[matched], pairs.sep_arcsec, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(out["ra_sky"].to_numpy(dtype=float)[matched], sky.frame["ra"].to_numpy()[pairs.right])
    assert out["cntr"].dtype == pd.ArrowDtype(pa.int64())
    assert ("_rank" in out.columns) == (k != 1)
    assert list(out.columns) == list(lazy.columns)
    assert lazy.get_healpix_pixels() == left.get_healpix_pixels()


def test_inner_join_and_parts(copy_path, left):
    whole = crossmatch(left, copy_path, 8.0)
    inner = crossmatch(left, copy_path, 8.0, how="inner").compute(progress_bar=False)
    full = whole.compute(progress_bar=False)
    assert inner["objid"].tolist() == full["objid"][full["_status"] == "matched"].tolist()
    pixel = left.get_healpix_pixels()[0]
    part = whole.get_partition(pixel.order, pixel.pixel).compute(progress_bar=False)
    assert part["_status"].tolist() == full["_status"].iloc[: len(part)].tolist()
    assert len(whole.query("_dist_arcsec < 2").compute(progress_bar=False)) == (full["_dist_arcsec"] < 2).sum()


class NorthOnly:
    """A coverage that is easy to tell."""

    def contains_discs(self, ra, dec, radius_arcsec):
        assert radius_arcsec == 8.0
        return np.asarray(dec) > 0


def test_statuses_know_the_coverage(copy_path, left):
    copy = open_copy(copy_path)
    object.__setattr__(copy, "coverage", NorthOnly())
    out = crossmatch(left, copy, 8.0).compute(progress_bar=False)
    empty = out[out["_status"] != "matched"]
    expected = np.where(empty["dec"].to_numpy() > 0, "unmatched", "outside-coverage")
    assert empty["_status"].tolist() == expected.tolist()
    assert set(expected) == {"unmatched", "outside-coverage"}


def test_on_a_cluster_and_written(copy_path, left, dask_client, tmp_path):
    import lsdb

    lazy = crossmatch(left, open_catalog(copy_path, columns=["cntr"]), 8.0)
    with dask_client.as_current():
        there = lazy.compute(progress_bar=False)
    lazy.write_catalog(tmp_path / "out", catalog_name="out", progress_bar=False, as_collection=False)
    written = lsdb.open_catalog(tmp_path / "out").compute(progress_bar=False)
    assert there["cntr"].equals(written["cntr"])
    assert there["_status"].tolist() == written["_status"].tolist()


def test_damage_fails_by_name(copy_path, left, tmp_path):
    """On either side, and through what was done to the catalogue before."""
    import shutil

    from tests.matching.skies import partition_files

    path = shutil.copytree(copy_path, tmp_path / "copy")
    damaged = open_catalog(path)
    victim = partition_files(path)[2]
    victim.write_bytes(b"PAR1")
    bright = damaged.query("w1mpro < 15")
    for lazy in (crossmatch(left, damaged, 8.0), crossmatch(left, bright, 8.0), crossmatch(bright, copy_path, 8.0)):
        with pytest.raises(PartitionReadError, match=victim.name):
            lazy.compute(progress_bar=False)


def test_answers_with_differing_columns_are_not_one_to_dask(copy_path, left):
    import dask

    right = open_catalog(copy_path)
    asked = ["cntr", "w1mpro"]
    parts = [crossmatch(left, right, 8.0, columns=[column]).to_delayed()[0] for column in asked]
    for column, frame in zip(asked, dask.compute(*parts), strict=True):
        assert frame.columns[-3] == column


def test_wrong_use(sky, copy_path, left):
    for keyword in ({"ra": "ra", "dec": "dec"}, {"workers": 2}):
        with pytest.raises(UsageError, match="mean nothing for an LSDB catalogue"):
            crossmatch(left, copy_path, 8.0, **keyword)
    for sides in ((left[["objid"]], copy_path), (left, open_catalog(copy_path)[["cntr"]])):
        with pytest.raises(TableError, match="lacks its coordinate column 'ra'"):
            crossmatch(*sides, 8.0)
    with pytest.raises(RadiusError, match="cannot be searched"):
        crossmatch(left, copy_path, 11.0)
    with pytest.raises(UsageError, match="not with a table"):
        crossmatch(left, sky.frame)
