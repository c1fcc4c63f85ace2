"""The join as an LSDB algorithm: LSDB's own answers, and brute force where LSDB leaves the choice open."""

from __future__ import annotations

import lsdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from dask.base import tokenize
from lsdb.core.crossmatch.crossmatch_args import CrossmatchArgs

from tests.copies import make_copy
from tests.matching.skies import KEYED
from tests.oracle import brute_force
from xmatch_hats import CatalogTarget, Crossmatcher, HealpixJoin
from xmatch_hats.errors import RadiusError, TableError, UsageError
from xmatch_hats.matching.rule import MatchRule

BIG = 9_007_199_254_740_993
FINE, COARSE = 150, 100_000
"""Rows of a partition of the left side."""
RULES = [(0.1, 1, 0.0), (1.0, 1, 0.0), (10.0, 1, 0.0), (10.0, 3, 0.0), (5.0, 2, 1.0), (8.0, None, 0.0)]
"""Radius, number of neighbours, minimum."""
QUICK = {(FINE, 10.0, 1, 0.0), (FINE, 5.0, 2, 1.0), (FINE, 8.0, None, 0.0), (COARSE, 10.0, 3, 0.0)}
"""Those of every run; LSDB takes seconds for each, and the campaign has all."""


@pytest.fixture(scope="module")
def left_frame(sky):
    ra, dec = sky.ra[::4], sky.dec[::4]
    return pd.DataFrame({"ra": ra, "dec": dec, "objid": np.arange(len(ra)) + BIG})


@pytest.fixture(
    scope="module",
    params=[pytest.param(FINE, id="fine left"), pytest.param(COARSE, id="coarse left", marks=pytest.mark.campaign)],
)
def left(left_frame, request):
    return lsdb.from_dataframe(left_frame, partition_rows=request.param, margin_threshold=None, highest_order=7)


@pytest.fixture(scope="module")
def right(copy_path):
    return lsdb.open_catalog(copy_path)


def joined(left, right, algorithm, how="inner", method="all_columns"):
    lazy = left.crossmatch(right, algorithm=algorithm, how=how, suffixes=("", "_r"), suffix_method=method)
    out = lazy.compute(progress_bar=False)
    assert list(out.columns) == list(lazy.columns)
    assert out["_dist_arcsec"].dtype == pd.ArrowDtype(pa.float64())
    key = "cntr_r" if method == "all_columns" else "cntr"
    return out.sort_values(["objid", "_dist_arcsec", key], kind="stable").reset_index(drop=True)


@pytest.mark.parametrize(
    ("left", "radius", "k", "minimum"),
    [
        pytest.param(rows, *rule, marks=() if (rows, *rule) in QUICK else pytest.mark.campaign)
        for rows in (FINE, COARSE)
        for rule in RULES
    ],
    indirect=["left"],
)
def test_equals_brute_force_and_the_tree(sky, left_frame, left, right, radius, k, minimum):
    out = joined(left, right, HealpixJoin(radius, k, minimum, id_column="cntr"))
    rows = sky.frame["ra"], sky.frame["dec"]
    pairs = brute_force(left_frame["ra"], left_frame["dec"], *rows, radius, k=k, min_radius_arcsec=minimum, ids=sky.ids)
    assert len(pairs)
    np.testing.assert_array_equal(out["objid"].to_numpy() - BIG, pairs.left)
    np.testing.assert_array_equal(out["cntr_r"].to_numpy(), sky.ids[pairs.right])
    np.testing.assert_allclose(out["_dist_arcsec"].to_numpy(), pairs.sep_arcsec, rtol=0, atol=1e-9)
    tree = joined(left, right, lsdb.KdTreeCrossmatch(k or 100, radius, minimum))
    assert out["objid"].equals(tree["objid"])
    np.testing.assert_allclose(out["_dist_arcsec"].to_numpy(), tree["_dist_arcsec"].to_numpy(), rtol=0, atol=1e-9)


def test_left_join_keeps_every_row(left_frame, left, right):
    out, tree = (
        joined(left, right, algorithm, "left") for algorithm in (HealpixJoin(2.0), lsdb.KdTreeCrossmatch(1, 2.0))
    )
    assert sorted(out["objid"]) == sorted(left_frame["objid"])
    assert out["cntr_r"].isna().equals(tree["cntr_r"].isna())
    assert out["cntr_r"].isna().any()
    assert out["cntr_r"].dtype == pd.ArrowDtype(pa.int64())


def test_positions_of_single_precision(sky, left_frame):
    """They are what they are to the last bit, where LSDB's tree rounds what it computes of them."""
    single = {"ra": "float32", "dec": "float32"}
    mine, theirs = left_frame.iloc[::3].astype(single), sky.frame[["ra", "dec", "cntr"]].astype(single)
    sides = [
        lsdb.from_dataframe(frame, partition_rows=1000, margin_threshold=10.0, highest_order=5)
        for frame in (mine, theirs)
    ]
    out = joined(*sides, HealpixJoin(8.0, 3, id_column="cntr"), "left", "overlapping_columns")
    matched = out[out["_dist_arcsec"].notna()]
    spots = [frame[column].to_numpy(float) for frame in (mine, theirs) for column in ("ra", "dec")]
    pairs = brute_force(*spots, 8.0, k=3, ids=sky.ids)
    np.testing.assert_array_equal(matched["objid"].to_numpy(), mine["objid"].to_numpy()[pairs.left])
    np.testing.assert_array_equal(matched["cntr"].to_numpy(), sky.ids[pairs.right])
    np.testing.assert_allclose(matched["_dist_arcsec"].to_numpy(), pairs.sep_arcsec, rtol=0, atol=1e-9)
    assert set(out["objid"]) == set(mine["objid"])


def test_changed_positions_and_any_order(left_frame, left, right):
    """LSDB keeps the index of a row whose position is changed, and its rows in the order that a function gives them."""

    def shifted(frame):
        return frame.assign(dec=frame["dec"] + np.sign(-frame["dec"]) * 3.0 / 3600).iloc[::-1]

    moved = left.map_partitions(shifted)
    out, tree = (joined(moved, right, algorithm) for algorithm in (HealpixJoin(1.5), lsdb.KdTreeCrossmatch(1, 1.5)))
    assert len(out)
    assert out["objid"].equals(tree["objid"])
    np.testing.assert_allclose(out["_dist_arcsec"].to_numpy(), tree["_dist_arcsec"].to_numpy(), rtol=0, atol=1e-9)


def test_nested(left, right):
    flat = joined(left, right, HealpixJoin(8.0, None))
    nested = left.crossmatch_nested(right, algorithm=HealpixJoin(8.0, None), nested_column_name="near")
    assert nested.compute(progress_bar=False)["near.cntr"].size == len(flat)


@pytest.fixture
def join_rows(right):
    """Join rows of two small frames, of right ascension, declination and id."""
    info = right.hc_structure.catalog_info

    def join(algorithm, left, right):
        frames = (pd.DataFrame(side, columns=["ra", "dec", "id"]) for side in (left, right))
        return algorithm.perform_crossmatch(CrossmatchArgs(*frames, 0, 0, 0, 0, info, info, None))

    return join


def test_rows_without_a_position_match_nothing(join_rows):
    bad = [(np.nan, 1.0, 0), (1.0, np.inf, 1), (1.0, 91.0, 2), (None, None, 3)]
    good = [(1.0, 1.0, 4)]
    rows, found, distances = join_rows(HealpixJoin(10.0, None), [*bad, *good], [*good, *bad])
    assert (rows.tolist(), found.tolist(), distances["_dist_arcsec"].tolist()) == ([4], [0], [0.0])
    for sides in (([], good), (good, []), (good, bad), (bad, good)):
        assert [len(part) for part in join_rows(HealpixJoin(10.0), *sides)] == [0, 0, 0]


def test_ties(join_rows):
    here, beside = (30.0, 10.0), (30.0002, 10.0)
    rows = [(*beside, 8), (*here, 9), (*beside, 7), (*here, 5)]
    assert join_rows(HealpixJoin(5.0, 4, id_column="id"), [(*here, 0)], rows)[1].tolist() == [3, 1, 2, 0]
    assert join_rows(HealpixJoin(5.0, 4), [(*here, 0)], rows)[1].tolist() == [1, 3, 0, 2]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Pairs of rows at one distance north and south of a spot, their ids in no order, in two copies: one by its id.

    The other has the id that a copy numbers its rows by.
    """
    folder, rng = tmp_path_factory.mktemp("twins"), np.random.default_rng(5)
    order, spots = rng.permutation(80), rng.uniform(10.0, 11.0, 40)
    dec = np.repeat([2.0**-14, -(2.0**-14)], 40)[order]
    rows = pa.table({"ra": np.tile(spots, 2)[order], "dec": dec, "key": rng.permutation(80)})
    definition = folder / "keyed.toml"
    definition.write_text(KEYED)
    keyed = make_copy(rows, folder / "keyed", definition=definition, coverage="all-sky")
    return spots, keyed, make_copy(rows, folder / "numbered", coverage="all-sky")


def twins_joined(spots, right, algorithm):
    frame = pd.DataFrame({"x": spots, "y": 0.0 * spots})
    left = lsdb.from_dataframe(frame, ra_column="x", dec_column="y", margin_threshold=None)
    return left.crossmatch(right, algorithm=algorithm, suffixes=("", "_r"), suffix_method="overlapping_columns")


def test_ties_in_copies_go_as_in_the_engine(twins):
    spots, *copies = twins
    assert [copy.id_column for copy in copies] == ["key", "_row"]
    join = HealpixJoin(1.0)
    lazy = [twins_joined(spots, lsdb.open_catalog(copy.path, columns="all"), join) for copy in copies]
    answers = []
    for copy, joined_lazily in zip(copies, lazy, strict=True):
        with Crossmatcher([CatalogTarget(copy, radius_arcsec=1.0)], workers=0) as matcher:
            (result,) = matcher.match(spots, 0.0 * spots).values()
        answers.append(result.rows["key"].to_numpy()[np.argsort(spots[result.left])])
        out = joined_lazily.compute(progress_bar=False).sort_values("x")
        np.testing.assert_array_equal(out["key"].to_numpy(), answers[-1])
    assert (answers[0] != answers[1]).any()


def test_ties_without_the_id_among_the_columns(twins):
    """They are decided all the same, and do not change what the join knows of the catalogue."""
    spots, keyed, _ = twins
    join = HealpixJoin(1.0)
    whole, bare = (lsdb.open_catalog(keyed.path, columns=columns) for columns in ("all", ["ra", "dec"]))
    lazy = twins_joined(spots, whole, join)
    out = twins_joined(spots, bare, join).compute(progress_bar=False)
    assert out["dec"].tolist() == [-(2.0**-14)] * len(spots)
    assert (lazy.compute(progress_bar=False)["dec"] > 0).any()


def test_refusals(left, right, copy_path):
    with pytest.raises(RadiusError, match=r"a radius of 10.5 arcsec cannot be searched: .* a margin of 10 arcsec"):
        left.crossmatch(right, algorithm=HealpixJoin(10.5), suffix_method="all_columns")
    bare = lsdb.open_catalog(copy_path / "sky")
    with pytest.raises(RadiusError, match="no margin cache"):
        left.crossmatch(bare, algorithm=HealpixJoin(1.0), suffix_method="all_columns")
    with pytest.raises(TableError, match=r"no column 'cntrs'.*cntr"):
        left.crossmatch(right, algorithm=HealpixJoin(1.0, id_column="cntrs"), suffix_method="all_columns")
    with pytest.raises(RadiusError):
        HealpixJoin(-1.0)
    for k in (0, True, "3"):
        with pytest.raises(UsageError, match="whole number"):
            HealpixJoin(1.0, k)
    for name in (3, ["cntr"]):
        with pytest.raises(UsageError, match="id_column must be the name of a column, not"):
            HealpixJoin(1.0, id_column=name)
    for radius in ("1", None, True):
        with pytest.raises(RadiusError, match="one angle or a number of arcseconds"):
            HealpixJoin(radius)
    assert HealpixJoin(1 * u.arcmin, 1, 500 * u.mas).rule == MatchRule(60.0, 1, 0.5)


def test_dask_tells_joins_apart():
    joins = [HealpixJoin(1.0), HealpixJoin(1.0, 2), HealpixJoin(1.0, 1, 0.5), HealpixJoin(1.0, id_column="cntr")]
    assert len({tokenize(join) for join in joins}) == len(joins)
    assert tokenize(HealpixJoin(1.0)) == tokenize(HealpixJoin(1.0))


def test_it_tells_what_it_looks_for():
    assert repr(HealpixJoin(5.0)) == "<HealpixJoin within 5 arcsec; the nearest>"
    assert repr(HealpixJoin(1.5 * u.arcsec, 3, id_column="cntr")).endswith("; the 3 nearest, ties by cntr>")


def test_a_margin_is_to_be_had_where_the_catalogue_comes_from(left_frame, right):
    made = lsdb.from_dataframe(left_frame, margin_threshold=None)
    with pytest.raises(RadiusError, match=r"give lsdb\.from_dataframe a margin_threshold of 3 arcsec"):
        made.crossmatch(made, algorithm=HealpixJoin(3.0), suffixes=("", "_r"), suffix_method="all_columns")
    with pytest.raises(RadiusError, match="make the copy again with a margin of 99 arcsec"):
        made.crossmatch(right, algorithm=HealpixJoin(99.0), suffixes=("", "_r"), suffix_method="all_columns")
