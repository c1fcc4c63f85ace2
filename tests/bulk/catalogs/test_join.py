"""Pairs of catalogues against brute force, in every layout of the two."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.bulk.catalogs.skies import count_rows, main_table, read_rows
from tests.copies import make_copy, patch_table
from tests.matching.skies import partition_files
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.errors import CatalogError
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching.partitions import PartitionIndex

LAYOUTS = [(left, right) for left in ("fine", "coarse") for right in ("fine", "coarse")]
RULES = {
    "nearest": (1.0, 1, True),
    "all to the margin": (10.0, None, True),
    "two without a margin": (10.0, 2, False),
    "beyond the margin": (40.0, 1, True),
}
"""Radius, number of neighbours, and whether the right side has its margin."""


def is_quick(rule, layout):
    """Whether every run has a case: all rules in fine layouts, and one of them in all."""
    return rule == "all to the margin" or layout == ("fine", "fine")


def pairs_of(rows):
    matched = rows.filter(pc.is_valid(rows["_dist_arcsec"]))
    ids = zip(matched["oid"].to_pylist(), matched["cntr"].to_pylist(), strict=True)
    return dict(zip(ids, matched["_dist_arcsec"].to_pylist(), strict=True))


def assert_pairs(rows, expected):
    found = pairs_of(rows)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[ids] for ids in expected], list(expected.values()), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("rule", "left", "right"),
    [
        pytest.param(rule, *layout, marks=() if is_quick(rule, layout) else pytest.mark.campaign)
        for rule in RULES
        for layout in LAYOUTS
    ],
)
def test_every_layout_gives_the_pairs_of_brute_force(pair, tmp_path, rule, left, right):
    radius, k, margin = RULES[rule]
    right_path = pair.path("right", right)
    result = crossmatch_catalogs(
        pair.path("left", left),
        right_path if margin else main_table(right_path),
        tmp_path / "out",
        radius_arcsec=radius,
        n_neighbors=k,
        workers=0,
    )
    rows = read_rows(tmp_path / "out")
    expected = pair.answer(radius, k)
    assert_pairs(rows, expected)
    assert result.rows == len(expected)
    assert result.matched == len({left for left, _ in expected})
    assert result.left_rows == len(pair.left)
    assert ("_rank" in rows.column_names) == (k != 1)


def test_the_fixture_has_matches_across_borders_and_in_holes(pair):
    index = PartitionIndex.from_pixels(LocalCopy.open(pair.path("right", "fine")).partitions)
    right = pair.right.set_index("cntr")
    left = pair.left.set_index("oid")
    ids = list(pair.answer(10.0, None))
    homes = [
        index.home(cells_of(frame.loc[list(chosen), "ra"], frame.loc[list(chosen), "dec"]))
        for frame, chosen in ((left, [a for a, _ in ids]), (right, [b for _, b in ids]))
    ]
    assert ((homes[0] >= 0) & (homes[0] != homes[1])).sum() > 10
    assert (homes[0] < 0).sum() > 10


@pytest.mark.parametrize(
    ("left", "right"),
    [pytest.param(*layout, marks=() if layout[0] == layout[1] else pytest.mark.campaign) for layout in LAYOUTS],
)
def test_a_left_join_keeps_every_row_and_every_type(pair, tmp_path, left, right):
    crossmatch_catalogs(
        pair.path("left", left),
        pair.path("right", right),
        tmp_path / "out",
        radius_arcsec=3.0,
        join="left",
        workers=0,
    )
    rows = read_rows(tmp_path / "out")
    assert sorted(rows["oid"].to_pylist()) == sorted(pair.left["oid"])
    assert rows.schema.field("cntr").type == pa.int64()
    assert_pairs(rows, pair.answer(3.0))
    unmatched = rows.filter(pc.is_null(rows["_dist_arcsec"]))
    assert len(unmatched)
    assert all(unmatched[name].null_count == len(unmatched) for name in ("cntr", "title", "flux"))
    index = rows["_healpix_29"].to_numpy()
    assert (np.diff(index) >= 0).all()


def test_values_stay_with_their_rows(pair, tmp_path):
    crossmatch_catalogs(
        pair.path("left", "fine"), pair.path("right", "fine"), tmp_path / "out", radius_arcsec=5.0, workers=0
    )
    frame = read_rows(tmp_path / "out").to_pandas()
    names = [name for name in frame.columns if name.startswith("mag_")]
    assert len(names) == 1
    left, right = pair.left.set_index("oid"), pair.right.set_index("cntr")
    np.testing.assert_array_equal(frame["mag"], left.loc[frame["oid"], "mag"])
    np.testing.assert_array_equal(frame[names[0]], right.loc[frame["cntr"], "mag"])
    assert list(frame["title"]) == list(right.loc[frame["cntr"], "title"])


def test_the_pairs_of_lsdb(pair, tmp_path):
    import lsdb

    opened = [lsdb.open_catalog(pair.path(side, "coarse")) for side in ("left", "right")]
    theirs = opened[0].crossmatch(opened[1], radius_arcsec=8.0, n_neighbors=3, suffixes=("", "_r"))
    theirs = theirs.compute(progress_bar=False)
    crossmatch_catalogs(
        pair.path("left", "fine"),
        pair.path("right", "fine"),
        tmp_path / "out",
        radius_arcsec=8.0,
        n_neighbors=3,
        workers=0,
    )
    names = ("oid", "cntr", "_dist_arcsec")
    oid, cntr, distance = (theirs[next(n for n in theirs.columns if n.removesuffix("_r") == name)] for name in names)
    expected = dict(zip(zip(oid, cntr, strict=True), distance, strict=True))
    found = pairs_of(read_rows(tmp_path / "out"))
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[ids] for ids in expected], list(expected.values()), rtol=0, atol=1e-6)


def test_equal_distances_go_to_the_smaller_id(tmp_path):
    """Five rows on each spot, spots around a corner of partitions."""
    left = patch_table(300, 45.0, 0.0, 0.01)
    ids = np.random.default_rng(3).permutation(1500)
    right = pa.table({name: np.repeat(left[name].to_numpy(), 5) for name in ("ra", "dec")} | {"source_id": ids})
    right = right.take(pa.array(np.random.default_rng(4).permutation(1500)))
    sides = []
    for table, name in ((left, "left"), (right, "right")):
        copy = make_copy(table, tmp_path / name, partition_rows=90)
        assert len(copy.partitions) > 1
        sides.append(copy)
    assert sides[1].id_column == "_row"
    row_of = np.argsort(right["source_id"].to_numpy())
    expected = dict(enumerate(row_of[ids.reshape(-1, 5)].min(axis=1).tolist()))
    crossmatch_catalogs(*sides, tmp_path / "out", radius_arcsec=0.5, workers=0)
    rows = read_rows(tmp_path / "out")
    title = next(name for name in rows.column_names if name.startswith("_row_"))
    assert dict(zip(rows["source_id"].to_pylist(), rows[title].to_pylist(), strict=True)) == expected


def test_rows_out_of_order_and_without_a_position(pair, tmp_path):
    """Foreign catalogues may be unsorted, and hold rows that have no position."""
    for side in ("left", "right"):
        shutil.copytree(pair.path(side, "coarse"), tmp_path / side)
        for file in partition_files(tmp_path / side):
            table = pq.read_table(file, partitioning=None)
            table = table.take(pa.array(np.random.default_rng(5).permutation(len(table))))
            lost = table.slice(0, 1).set_column(
                table.column_names.index("dec"),
                table.schema.field("dec"),
                pa.array([np.nan], table.schema.field("dec").type),
            )
            pq.write_table(pa.concat_tables([table, lost]), file, row_group_size=50)
        count_rows(tmp_path / side)
    crossmatch_catalogs(
        tmp_path / "left", tmp_path / "right", tmp_path / "out", radius_arcsec=8.0, n_neighbors=None, workers=0
    )
    rows = read_rows(tmp_path / "out")
    assert_pairs(rows, pair.answer(8.0, None))
    assert (np.diff(rows["_healpix_29"].to_numpy()) >= 0).all()


def test_a_margin_that_is_lost_is_no_empty_one(pair, tmp_path):
    shutil.copytree(pair.path("right", "fine"), tmp_path / "right")
    for file in LocalCopy.open(tmp_path / "right").margin_path.rglob("Npix=*.parquet"):
        file.unlink()
    with pytest.raises(CatalogError, match=r"could not be done.*cannot be read"):
        crossmatch_catalogs(
            pair.path("left", "fine"), tmp_path / "right", tmp_path / "out", radius_arcsec=1.0, workers=0
        )
    assert not (tmp_path / "out").exists()
