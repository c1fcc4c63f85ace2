"""Every way to narrow a join, against brute force over what it leaves."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mocpy import MOC

from tests.bulk.catalogs.skies import count_rows, read_rows, write_plain
from tests.copies import make_copy
from tests.folders import contents
from tests.oracle import ARCSEC, brute_force, xyz
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.region import Cone, MocRegion
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import AccountError, UsageError
from xmatch_hats.healpix import cells_of, in_ranges

COUNTS = ("left_out", "matched", "unmatched", "outside_coverage", "rejected")


def expected_pairs(left, right, radius, k=1):
    found = brute_force(left["ra"], left["dec"], right["ra"], right["dec"], radius, k=k)
    return set(zip(left["oid"].to_numpy()[found.left], right["cntr"].to_numpy()[found.right], strict=True))


def pairs_of(rows):
    rows = rows.filter(pc.is_valid(rows["_dist_arcsec"]))
    return set(zip(rows["oid"].to_pylist(), rows["cntr"].to_pylist(), strict=True))


def join(pair, out, radius=8.0, layouts=("coarse", "fine"), **arguments):
    sides = [pair.path(side, layout) for side, layout in zip(("left", "right"), layouts, strict=True)]
    joined = crossmatch_catalogs(*sides, out, radius_arcsec=radius, workers=0, **arguments)
    assert joined.left_rows == len(pair.left) == sum(getattr(joined, name) for name in COUNTS)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["in"] == joined.left_rows
    assert {name: summary[name] for name in COUNTS} == {name: getattr(joined, name) for name in COUNTS}
    verify_copy(out).raise_if_failed()
    return joined, read_rows(out)


@pytest.mark.parametrize("k", [1, None])
def test_conditions_on_both_sides_hold_before_anything_is_matched(pair, tmp_path, k):
    """The nearest of those that are left, in margins too: the columns of a condition need not be kept."""
    joined, rows = join(
        pair,
        tmp_path / "out",
        n_neighbors=k,
        left_where="mag < 19.2",
        right_where="mag > 16 and title.str.contains('1')",
        right_columns=["cntr"],
        left_columns=["oid"],
    )
    left = pair.left[pair.left["mag"] < 19.2]
    right = pair.right[(pair.right["mag"] > 16) & pair.right["title"].str.contains("1")]
    expected = expected_pairs(left, right, 8.0, k)
    assert pairs_of(rows) == expected
    assert (
        expected != {ids for ids in expected_pairs(left, pair.right, 8.0, k) if ids[1] in set(right["cntr"])}
        or k is None
    )
    assert joined.left_out == len(pair.left) - len(left)
    assert joined.pairs == joined.rows == len(expected)
    assert joined.matched == len({oid for oid, _ in expected})


def test_a_condition_on_the_output_comes_last(pair, tmp_path):
    name = LocalCopy.open(pair.path("right", "fine")).name
    joined, rows = join(
        pair, tmp_path / "out", n_neighbors=2, where=f"_dist_arcsec < 4 and mag - mag_{name} > 1", join="left"
    )
    found = brute_force(pair.left["ra"], pair.left["dec"], pair.right["ra"], pair.right["dec"], 8.0, k=2)
    left, right = pair.left.iloc[found.left], pair.right.iloc[found.right]
    kept = (found.sep_arcsec < 4) & (left["mag"].to_numpy() - right["mag"].to_numpy() > 1)
    assert pairs_of(rows) == set(zip(left["oid"].to_numpy()[kept], right["cntr"].to_numpy()[kept], strict=True))
    assert joined.rows == kept.sum()
    assert joined.pairs == len(found)
    assert joined.matched == len(set(found.left.tolist()))


@pytest.mark.parametrize(
    "cone",
    [(0.0, 90.0, 15.0), (45.0, 0.0, 0.002), (0.1, -2.0, 40.0), (200.0, 33.0, 1e-5)],
    ids=["pole", "corner", "RA 0", "empty"],
)
def test_a_cone_limits_left_rows_only(pair, tmp_path, cone):
    """Right rows beyond its border count: no neighbour is lost."""
    joined, rows = join(pair, tmp_path / "out", region=Cone(*cone), n_neighbors=None)
    chord = np.linalg.norm(xyz(pair.left["ra"], pair.left["dec"]) - xyz(*cone[:2]), axis=1)
    inside = 2 * np.arcsin(np.minimum(chord / 2, 1)) * ARCSEC <= cone[2] * 3600
    assert joined.left_out == len(pair.left) - inside.sum()
    assert pairs_of(rows) == expected_pairs(pair.left[inside], pair.right, 8.0, None)


def test_a_moc_limits_left_rows_only(pair, tmp_path):
    cells = np.unique(cells_of(pair.left["ra"], pair.left["dec"], 6))[::2]
    moc = MOC.from_healpix_cells(cells.astype(np.uint64), np.full(len(cells), 6, np.uint8), 6)
    moc.save(str(tmp_path / "some.fits"), format="fits")
    region = MocRegion.from_file(tmp_path / "some.fits")
    joined, rows = join(pair, tmp_path / "out", region=region, layouts=("fine", "coarse"))
    inside = in_ranges(cells_of(pair.left["ra"], pair.left["dec"]), region.map.ranges)
    assert 0 < inside.sum() < len(inside)
    assert joined.left_out == (~inside).sum()
    expected = expected_pairs(pair.left[inside], pair.right, 8.0)
    assert expected
    assert pairs_of(rows) == expected


def test_a_left_join_tells_what_became_of_each_row(tmp_path):
    """Unmatched only where the whole disc was searched; rows without a position lie beside the catalogue."""
    rng = np.random.default_rng(8)
    right = pd.DataFrame({"ra": rng.uniform(10, 20, 4000), "dec": rng.uniform(-5, 5, 4000)})
    left = pd.DataFrame({"ra": rng.uniform(8, 22, 600), "dec": rng.uniform(-6, 6, 600), "oid": np.arange(600)})
    moc = MOC.from_polygon_skycoord(_corners(10, 20, -5, 5), max_depth=9)
    moc.save(str(tmp_path / "moc.fits"), format="fits")
    copy = make_copy(
        pa.Table.from_pandas(right), tmp_path / "right", coverage=str(tmp_path / "moc.fits"), partition_rows=500
    )
    write_plain(left, tmp_path / "left", 3)
    file = next(iter(LocalCopy.open(tmp_path / "left").main_path.rglob("Npix=*.parquet")))
    table = pq.read_table(file, partitioning=None)
    lost = table.slice(0, 2).set_column(
        table.column_names.index("ra"), table.schema.field("ra"), pa.array([np.nan, np.inf])
    )
    pq.write_table(pa.concat_tables([table, lost]), file)
    count_rows(tmp_path / "left")
    radius = 200.0
    joined = crossmatch_catalogs(
        tmp_path / "left", copy, tmp_path / "out", radius_arcsec=radius, join="left", left_columns=["oid"], workers=0
    )
    rows = read_rows(tmp_path / "out").to_pandas().set_index("oid")
    found = brute_force(left["ra"], left["dec"], right["ra"], right["dec"], radius, k=1)
    status = np.where(copy.coverage.contains_discs(left["ra"], left["dec"], radius), "unmatched", "outside-coverage")
    status = status.astype(object)
    status[found.left] = "matched"
    assert dict(zip(left["oid"], status, strict=True)) == rows["_status"].to_dict()
    assert set(status) == {"matched", "unmatched", "outside-coverage"}
    assert (rows["_dist_arcsec"].isna() == (rows["_status"] != "matched")).all()
    rejected = pq.read_table(tmp_path / "out" / "rejected.parquet")
    assert "_healpix_29" not in rejected.column_names
    assert set(rejected["_reason"].to_pylist()) == {"right ascension is missing, NaN or infinite"}
    assert rejected["_status"].to_pylist() == ["rejected"] * 2 == ["rejected"] * joined.rejected
    assert joined.left_rows == 602 == sum(getattr(joined, name) for name in COUNTS)
    sky = pq.read_table(tmp_path / "out" / "sky.parquet")
    assert {name: pc.sum(sky[name]).as_py() for name in sky.column_names[1:]} == {
        "matched": joined.matched,
        "unmatched": joined.unmatched,
        "outside_coverage": joined.outside_coverage,
        "rows": joined.rows,
    }
    verify_copy(tmp_path / "out").raise_if_failed()


def _corners(ra_min, ra_max, dec_min, dec_max):
    from astropy.coordinates import SkyCoord

    return SkyCoord([ra_min, ra_max, ra_max, ra_min], [dec_min, dec_min, dec_max, dec_max], unit="deg")


def test_the_output_covers_what_both_sides_do(tmp_path):
    """Of an inner join, a disc's width less of the right side's; of a left join, all of the left side's."""
    rng = np.random.default_rng(9)
    points = pa.table({"ra": rng.uniform(10, 20, 2000), "dec": rng.uniform(-5, 5, 2000)})
    copies = []
    for name, west, east in (("left", 8, 16), ("right", 12, 22)):
        MOC.from_polygon_skycoord(_corners(west, east, -5, 5), max_depth=8).save(str(tmp_path / name), format="fits")
        copies.append(make_copy(points, tmp_path / f"{name}_copy", coverage=str(tmp_path / name)))
    spots = (np.array([13.9, 11.5, 16.5]), np.zeros(3))
    radius = 60.0
    for how, inside in (("inner", [True, False, False]), ("left", [True, True, False])):
        out = tmp_path / f"{how}_join"
        crossmatch_catalogs(*copies, out, radius_arcsec=radius, join=how, workers=0)
        coverage = Coverage.load(out)
        assert in_ranges(cells_of(*spots), coverage.ranges).tolist() == inside
        assert coverage.kind == "moc"
        if how == "inner":
            ra, dec = rng.uniform(11.5, 12.5, 20_000), rng.uniform(-5.5, 5.5, 20_000)
            covered = in_ranges(cells_of(ra, dec), coverage.ranges)
            assert covered.any()
            assert copies[1].coverage.contains_discs(ra[covered], dec[covered], radius).all()
    cone = Cone(13.5, 0.0, 0.5)
    crossmatch_catalogs(*copies, tmp_path / "cone", radius_arcsec=1.0, region=cone, workers=0)
    coverage = Coverage.load(tmp_path / "cone")
    assert coverage.kind == "region"
    np.testing.assert_allclose(coverage.sky_fraction, cone.coverage().sky_fraction, rtol=1e-6)


def test_rows_that_are_missing_are_not_called_matched_or_not(pair, tmp_path):
    import shutil

    shutil.copytree(pair.path("left", "coarse"), tmp_path / "left")
    copy = LocalCopy.open(tmp_path / "left")
    file = copy.partition_file(copy.partitions[3])
    pq.write_table(pq.read_table(file, partitioning=None).slice(1), file)
    with pytest.raises(AccountError, match=rf"{file.name} of order 1 has"):
        crossmatch_catalogs(
            tmp_path / "left", pair.path("right", "fine"), tmp_path / "out", radius_arcsec=1.0, workers=0
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"left_where": "nope > 3"}, "--left-where: there is no column nope"),
        ({"right_where": "titel == 'x'"}, "near names: title"),
        ({"where": "oid"}, "--where: is no condition"),
        ({"left_where": "mag <"}, "is not a pandas query"),
        ({"margin_arcsec": 5000.0}, "margin of 5000 arcsec is too wide"),
        ({"memory_per_worker": 1 << 20}, "MiB of memory at least"),
    ],
)
def test_what_means_nothing_is_refused_before_any_work(pair, tmp_path, arguments, words):
    with pytest.raises(UsageError, match=words):
        crossmatch_catalogs(
            pair.path("left", "fine"), pair.path("right", "fine"), tmp_path / "out", radius_arcsec=1.0, workers=0,
            **arguments,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_output_in_a_catalogue_is_refused_before_any_work(pair, tmp_path, side):
    (tmp_path / "link").symlink_to(pair.path(side, "fine"))
    before = contents(pair.path(side, "fine"))
    with pytest.raises(UsageError, match=r"link/deep/out: the output would lie in the catalogue .*/(left|right)_fine"):
        crossmatch_catalogs(
            pair.path("left", "fine"), pair.path("right", "fine"), tmp_path / "link" / "deep" / "out",
            radius_arcsec=1.0, workers=0,
        )  # fmt: skip
    assert contents(pair.path(side, "fine")) == before
