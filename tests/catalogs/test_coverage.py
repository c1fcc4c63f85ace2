"""Coverage against brute force: points all over each disc, looked up one by one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.catalogs.geometry import disc_points, in_moc, longest_diagonal_deg, points_near
from xmatch_hats import healpix
from xmatch_hats.catalogs import border
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.errors import CoverageError

PLACES = {
    "north pole": (10, 90),
    "south pole": (200, -90),
    "ra 0": (0, 5),
    "transition": (45, 41.81),
    "plain": (123, -27),
}


def coverage_of(members: dict[int, list[int]]) -> Coverage:
    ranges = np.concatenate([healpix.ranges_of_cells(np.array(cell), order) for order, cell in members.items()])
    return Coverage("moc", healpix.merge_ranges(ranges), max(members))


def ragged(ra: float, dec: float, order: int, rng) -> Coverage:
    """A blob of cells around a place, with holes."""
    size = np.degrees(1.0 / 2**order)
    near = np.unique(healpix.cells_of(*points_near(ra, dec, 6 * size, 3000, rng), order))
    return coverage_of({order: near[rng.random(len(near)) > 0.02].tolist()})


def check_discs(coverage: Coverage, ra, dec, radius_deg: float, rng) -> int:
    """No disc that leaves the coverage is called covered; every one that stays well within is. Returns the latter."""
    answer = coverage.contains_discs(ra, dec, radius_deg * 3600)
    diagonal = longest_diagonal_deg(coverage)
    well_within = 0
    for i in range(len(ra)):
        if answer[i]:
            inside = in_moc(coverage, *disc_points(ra[i], dec[i], radius_deg, rng))
            assert inside.all(), (ra[i], dec[i], radius_deg)
        elif in_moc(coverage, *disc_points(ra[i], dec[i], radius_deg + diagonal, rng)).all():
            raise AssertionError(f"a disc well within is not covered: {ra[i]} {dec[i]} {radius_deg}")
        well_within += answer[i]
    return well_within


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("order", [2, 5, 12])
@pytest.mark.parametrize("cells_wide", [0.0, 0.001, 0.3, 2.5])
def test_discs_against_brute_force(place, order, cells_wide):
    rng = np.random.default_rng([order, int(cells_wide * 1000), *place.encode()])
    coverage = ragged(*PLACES[place], order, rng)
    size = np.degrees(1.0 / 2**order)
    ra, dec = points_near(*PLACES[place], 7 * size, 250, rng)
    assert check_discs(coverage, ra, dec, cells_wide * size, rng) > 0 or cells_wide == 2.5


@given(
    seed=st.integers(0, 2**32 - 1),
    order=st.integers(0, 4),
    fraction=st.sampled_from([0.1, 0.5, 0.9, 0.99]),
    radius_deg=st.sampled_from([0.0, 1e-4, 0.5, 3.0, 20.0, 89.0, 170.0, 180.0]),
)
def test_discs_of_random_maps(seed, order, fraction, radius_deg):
    rng = np.random.default_rng(seed)
    every = np.arange(12 * 4**order)
    coverage = coverage_of({order: every[rng.random(len(every)) < fraction].tolist()})
    corner_ra, corner_dec = healpix.centres_of(every[:4], order)
    ra = np.r_[corner_ra, 0, 0, 45, rng.uniform(-360, 720, 20)]
    dec = np.r_[corner_dec, 90, -90, 41.81, np.degrees(np.arcsin(rng.uniform(-1, 1, 20)))]
    check_discs(coverage, ra, dec, radius_deg, rng)


def test_mixed_orders_and_a_border_too_long_for_its_order(monkeypatch):
    rng = np.random.default_rng(3)
    members = {3: [100, 101, 102], 8: list(range(103 << 10, (103 << 10) + 700))}
    monkeypatch.setattr(border, "MAX_BORDER_CELLS", 60)
    coverage = coverage_of(members)
    ra, dec = healpix.centres_of(np.repeat(np.arange(96, 108), 40), 3)
    ra, dec = ra + rng.normal(0, 6, len(ra)), dec + rng.normal(0, 6, len(ra))
    answer = coverage.contains_discs(ra, dec, 1800)
    assert answer.any()
    for i in np.flatnonzero(answer):
        assert in_moc(coverage, *disc_points(ra[i], dec[i], 0.5, rng)).all()


def test_right_ascension_wraps_and_positions_off_the_sphere_are_in_no_coverage():
    coverage = ragged(0, 5, 6, np.random.default_rng(5))
    ra = np.array([0.1, 360.1, -359.9])
    assert coverage.contains_discs(ra, [5.2] * 3, 1).tolist() == [True] * 3
    bad_ra, bad_dec = [np.nan, 0, 0, np.inf], [0, np.nan, 90.1, 5]
    for some in (coverage, Coverage.all_sky()):
        assert not some.contains_discs(bad_ra, bad_dec, 1).any()
    assert coverage.contains_discs([], [], 1).shape == (0,)


def test_whole_sky_and_nothing():
    ra, dec = np.array([0, 10, 359]), np.array([90, -90, 0])
    everything = Coverage.all_sky()
    assert everything.contains_discs(ra, dec, 648000).all()
    assert (everything.kind, everything.estimated, everything.sky_fraction) == ("all-sky", False, 1.0)
    nothing = Coverage("region", np.empty((0, 2), dtype=np.int64), 12)
    assert not nothing.contains_discs(ra, dec, 0).any()
    assert nothing.sky_fraction == 0.0


def test_a_map_that_is_all_sky_cell_by_cell_is_all_sky():
    coverage = coverage_of({0: list(range(11)), 1: [44, 45, 46, 47]})
    assert coverage.contains_discs([315.0], [-42.0], 10000).all()


@pytest.mark.parametrize("form", ["fits", "json", "ascii"])
def test_users_maps_in_every_form(tmp_path, form):
    coverage = ragged(200, -89, 9, np.random.default_rng(1))
    coverage.moc.save(str(tmp_path / "moc"), format=form)
    read = Coverage.from_moc_file(tmp_path / "moc")
    assert (read.kind, read.order, read.estimated) == ("moc", 9, False)
    np.testing.assert_array_equal(read.ranges, coverage.ranges)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "not a readable MOC"),
        (b"3/99999", "Too large"),
        (b"SIMPLE  = junk", "not a readable MOC"),
        (b'{"5": [1,', "not a readable MOC: Expecting value: line 1 column 10"),
        (b'{"\xff": [1]}', "not a readable MOC: .* byte 0xff in position 2"),
        (b'{"31": [1]}', "'31' is not a HEALPix order"),
        (b'{"a": [1]}', "'a' is not a HEALPix order"),
        (b'{"0": [99]}', "cells that do not exist"),
        (b'{"0": ["x"]}', "cells that do not exist"),
        (b'{"0": 3}', "list of cells"),
        (b"[1, 2]", "not a readable MOC"),
        (b"\xff\xfe\x00", "not a readable MOC"),
    ],
)
def test_what_is_not_a_map_is_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "bad.moc"
    path.write_bytes(content)
    with pytest.raises(CoverageError, match=reason) as caught:
        Coverage.from_moc_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_map_is_refused(tmp_path):
    with pytest.raises(CoverageError, match="there is no such file"):
        Coverage.from_moc_file(tmp_path / "none.fits")


@pytest.mark.parametrize(
    "make", [Coverage.all_sky, lambda: coverage_of({4: [7, 8], 6: [900]}), lambda: Coverage.from_rows([])]
)
def test_kept_in_a_folder(tmp_path, make):
    coverage = make()
    coverage.save(tmp_path)
    read = Coverage.load(tmp_path)
    assert read.summary() == coverage.summary()
    np.testing.assert_array_equal(read.ranges, coverage.ranges)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coverage.fits", "coverage.json"]


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "coverage.fits").unlink(),
        lambda folder: (folder / "coverage.json").unlink(),
        lambda folder: _flip(folder / "coverage.fits"),
        lambda folder: (folder / "coverage.json").write_text("{}"),
        lambda folder: (folder / "coverage.json").write_text("{"),
        lambda folder: (folder / "coverage.json").write_text(
            json.dumps(json.loads((folder / "coverage.json").read_text()) | {"kind": "guess"})
        ),
        lambda folder: (folder / "coverage.json").write_text(
            json.dumps(json.loads((folder / "coverage.json").read_text()) | {"format": 99})
        ),
    ],
)
def test_damage_in_the_folder_is_found(tmp_path, damage):
    coverage_of({4: [7, 8]}).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(CoverageError):
        Coverage.load(tmp_path)
