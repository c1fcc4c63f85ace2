"""Cones and boxes against brute force, where geometry is hard."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.copies import make_copy, patch_table, sky_table
from tests.matching.skies import PLACES
from tests.oracle import brute_force
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.region import Box as SkyBox
from xmatch_hats.errors import CatalogError, PartitionReadError, PositionError, RadiusError, UsageError
from xmatch_hats.matching.search import Bounds, Box, Cone, box_rows, cone_rows, is_covered, partition_bounds


@pytest.fixture(scope="module")
def copy(copy_path) -> LocalCopy:
    return LocalCopy.open(copy_path)


def brute_cone(sky, ra, dec, radius):
    return brute_force([ra], [dec], sky.frame["ra"], sky.frame["dec"], radius)


def assert_cone(copy, sky, ra, dec, radius):
    oracle = brute_cone(sky, ra, dec, radius)
    found = cone_rows(copy, Cone(ra, dec, radius), ["cntr"])
    assert sorted(found["cntr"].to_pylist()) == sorted(sky.ids[oracle.right].tolist())
    distance = found["_dist_arcsec"].to_numpy()
    assert (np.diff(distance) >= 0).all()
    np.testing.assert_allclose(distance, oracle.sep_arcsec, rtol=0, atol=1e-8)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("radius", [3.0, 40.0, 3600.0])
def test_cones_in_hard_places(copy, sky, place, radius):
    assert_cone(copy, sky, *PLACES[place], radius)


@pytest.mark.parametrize("dec", [90.0, -90.0])
def test_cones_and_boxes_round_a_pole(tmp_path, dec):
    table = patch_table(2000, 77.0, dec, 0.02)
    copy = make_copy(table, tmp_path / "c", partition_rows=300)
    ra, lat = table["ra"].to_numpy(), table["dec"].to_numpy()
    for centre in (dec, dec * (1 - 1e-6), dec * (1 - 1e-4)):
        for radius in (2.0, 20.0, 50.0):
            oracle = brute_force([200.0], [centre], ra, lat, radius)
            found = cone_rows(copy, Cone(200.0, centre, radius))
            assert found["source_id"].to_pylist() == oracle.right.tolist()
    inside = (ra >= 350) | (ra <= 100)
    found = box_rows(copy, Box(350.0, 100.0, min(dec, 89.9), max(dec, -89.9)))
    assert sorted(found["source_id"].to_pylist()) == np.flatnonzero(inside).tolist()


@pytest.mark.parametrize("ra", [0.0, -0.001, 360.0, 359.9995, 719.5])
def test_cones_across_the_seam(copy, sky, ra):
    assert_cone(copy, sky, ra, 12.0, 30.0)


@pytest.mark.parametrize("radius_deg", [30.0, 90.0, 179.99, 180.0])
def test_cones_as_wide_as_the_sky(copy, sky, radius_deg):
    assert_cone(copy, sky, 123.0, 40.0, radius_deg * 3600)


@given(
    near=st.integers(0, 4000),
    radius=st.floats(0.01, 4e4),
    shift=st.tuples(st.floats(-0.05, 0.05), st.floats(-0.05, 0.05)),
)
def test_cones_near_rows(copy, sky, near, radius, shift):
    row = sky.frame.iloc[near % len(sky.frame)]
    dec = float(np.clip(row["dec"] + shift[1], -90, 90))
    oracle = brute_cone(sky, row["ra"] + shift[0], dec, radius)
    found = cone_rows(copy, Cone(row["ra"] + shift[0], dec, radius), ["cntr"])
    assert set(found["cntr"].to_pylist()) == set(sky.ids[oracle.right].tolist())


@pytest.mark.parametrize(
    "corners",
    [
        (359.99, 0.01, 11.99, 12.01),
        (-0.01, 0.01, -0.01, 0.01),
        (350.0, 10.0, -90.0, 90.0),
        (0.0, 360.0, 89.99, 90.0),
        (100.0, 214.0, 89.985, 90.0),
        (321.0, 320.0, -90.0, -89.99),
        (44.99, 45.01, 41.8, 41.82),
        (10.0, 360.0, 0.0, 1.0),
        (-360.0, 720.0, -20.0, 20.0),
        (200.0, 199.0, -36.0, -34.0),
    ],
)
def test_boxes(copy, sky, corners):
    ra, dec = sky.frame["ra"].to_numpy(), sky.frame["dec"].to_numpy()
    low, high, bottom, top = corners
    in_ra = np.ones(len(ra), bool) if high - low >= 360 else (ra - low) % 360 <= (high - low) % 360
    expected = sky.ids[in_ra & (dec >= bottom) & (dec <= top)]
    found = box_rows(copy, Box(*corners))
    assert sorted(found["cntr"].to_pylist()) == sorted(expected.tolist())
    assert len(expected) > 0


def test_a_box_has_its_borders_and_goes_by_healpix(copy, sky):
    row = sky.frame.iloc[5]
    box = Box(row["ra"], row["ra"] + 0.004, row["dec"] - 0.004, row["dec"])
    assert row["cntr"] in box_rows(copy, box, ["cntr"])["cntr"].to_pylist()
    indexes = box_rows(
        copy, Box(0, 360, -30, 80), ["_healpix_29"] if "_healpix_29" in copy.column_names(None) else None
    )
    frame = copy.open_lsdb(["cntr"]).compute()
    order = {cntr: index for index, cntr in zip(frame.index, frame["cntr"], strict=True)}
    assert (np.diff([order[cntr] for cntr in indexes["cntr"].to_pylist()]) >= 0).all()


def test_only_rows_that_are_asked_for_leave_their_files(copy, monkeypatch):
    opened = []
    original = pq.ParquetFile.__init__

    def counting(self, source, *args, **kwargs):
        opened.append(source)
        original(self, source, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "__init__", counting)
    cone_rows(copy, Cone(200.0, -35.0, 5.0), ["cntr"])
    assert 1 <= len(opened) < len(copy.partitions) / 5


def test_columns_and_metadata(tmp_path):
    copy = make_copy(sky_table(500), tmp_path / "c")
    found = cone_rows(copy, Cone(10, 10, 3e5), ["flux"])
    assert found.column_names == ["flux", "_dist_arcsec"]
    assert found.schema.field("_dist_arcsec").metadata[b"unit"] == b"arcsec"
    assert found.schema.field("flux").type == pa.float32()
    empty = cone_rows(copy, Cone(10, 10, 1e-6))
    assert empty.num_rows == 0
    assert empty.column_names == [*copy.column_names(None), "_dist_arcsec"]
    with pytest.raises(CatalogError, match="no column flix"):
        cone_rows(copy, Cone(10, 10, 1), ["flix"])


def test_equal_distances_go_by_the_row_number(tmp_path):
    table = pa.table({"ra": [10.0] * 5, "dec": [5.0] * 5, "name": list("edcba")})
    copy = make_copy(table, tmp_path / "c")
    found = cone_rows(copy, Cone(10.0, 5.0, 1.0))
    assert found["_row"].to_pylist() == sorted(found["_row"].to_pylist())
    assert found["name"].to_pylist() == list("edcba")


def test_a_damaged_partition_is_named(sky, tmp_path):
    copy = make_copy(sky_table(200), tmp_path / "c")
    (path,) = {copy.partition_file(copy.partitions[0])}
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PartitionReadError, match="Npix"):
        box_rows(copy, Box(0, 360, -90, 90))


def test_what_is_covered(tmp_path):
    region = SkyBox(350.0, 20.0, -10.0, 10.0)
    whole = make_copy(sky_table(300), tmp_path / "whole", coverage="all-sky")
    part = make_copy(sky_table(300), tmp_path / "part", coverage=region.coverage())
    empty = make_copy(sky_table(300), tmp_path / "empty", coverage=Coverage("moc", np.empty((0, 2)), 5))
    for copy, cone, box in ((whole, True, True), (part, True, True), (empty, False, False)):
        assert is_covered(copy, Cone(0.0, 0.0, 3600.0)) is cone
        assert is_covered(copy, Box(359.0, 1.0, -1.0, 1.0)) is box
    assert not is_covered(part, Cone(20.0, 0.0, 3600.0))
    assert not is_covered(part, Box(340.0, 1.0, -1.0, 1.0))
    assert is_covered(whole, Box(0.0, 360.0, -90.0, 90.0))


def test_a_foreign_copy_covers_nothing_for_sure(copy):
    assert not is_covered(copy, Cone(0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Cone(0, 91, 1), PositionError, "declination outside"),
        (lambda: Cone(np.nan, 0, 1), PositionError, "right ascension is missing"),
        (lambda: Cone(0, 0, 0), RadiusError, "0 arcsec is not above 0"),
        (lambda: Cone(0, 0, np.inf), RadiusError, "above 180 degrees"),
        (lambda: Cone(0, 0, 648001), RadiusError, "above 180 degrees"),
        (lambda: Box(0, 10, 5, 5), UsageError, "empty"),
        (lambda: Box(10, 10, 0, 5), UsageError, "empty"),
        (lambda: Box(0, 10, -91, 5), UsageError, "declination outside"),
        (lambda: Box(0, 721, -9, 5), UsageError, "right ascension outside"),
    ],
)
def test_regions_that_mean_nothing(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("order", [0, 1, 2, 5, 9])
def test_partition_bounds_hold_their_cells(order):
    import cdshealpix.nested as healpix

    rng = np.random.default_rng(order)
    cells = 12 * 4**order
    pixels = np.unique(np.r_[rng.integers(0, cells, 300), np.arange(min(cells, 48)), cells - 1])
    windows = partition_bounds([(order, int(pixel)) for pixel in pixels])
    for dx, dy in rng.random((12, 2)):
        lon, lat = healpix.healpix_to_lonlat(pixels.astype(np.uint64), order, dx, dy)
        for window, ra, dec in zip(windows, lon.deg, lat.deg, strict=True):
            assert window.meets(Bounds(ra % 360.0, 0.0, dec, dec))
            assert window.width <= 90.0


@pytest.mark.campaign
def test_cones_of_a_million_sources(tmp_path, record_property):
    from xmatch_hats.demo.sky import SkyBox as MadeBox
    from xmatch_hats.demo.sky import make_sky

    started = time.monotonic()
    made = make_sky(1_000_000, seed=9, box=MadeBox(350.0, 10.0, 60.0, 90.0))
    record_property("making a million sources, s", round(time.monotonic() - started, 1))
    copy = make_copy(made, tmp_path / "c", partition_rows=100_000, workers=2)
    ra, dec, cntr = (made[name].to_numpy() for name in ("ra", "dec", "cntr"))
    rng = np.random.default_rng(9)
    started = time.monotonic()
    for row in rng.integers(0, len(ra), 100):
        radius = float(rng.uniform(1.0, 600.0))
        oracle = brute_force([ra[row] + 0.001], [dec[row]], ra, dec, radius, ids=cntr)
        found = cone_rows(copy, Cone(ra[row] + 0.001, dec[row], radius))
        assert found["cntr"].to_pylist() == cntr[oracle.right].tolist()
    record_property("a cone and its brute force, ms", round(10 * (time.monotonic() - started)))
