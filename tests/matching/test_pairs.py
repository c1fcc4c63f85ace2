"""The kernel: two finders, one selection, and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.matching.skies import PLACES, clump, rough_sky
from tests.matching.strategies import minima, neighbours, patches, radii
from tests.matching.ways import both_ways
from tests.oracle import brute_force
from xmatch_hats.matching import pairs as pairs_module
from xmatch_hats.matching.pairs import rank_pairs
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import SortedSky, match_sorted


def assert_equal(left, right, rule, ids=None, expected=None):
    expected = expected or brute_force(
        *left, *right, rule.radius_arcsec, k=rule.n_neighbors, min_radius_arcsec=rule.min_radius_arcsec, ids=ids
    )
    sky = SortedSky.from_positions(*right)
    ties = () if ids is None else (np.asarray(ids)[sky.rows],)
    for pairs in both_ways(left, sky, rule, ties):
        np.testing.assert_array_equal(pairs.left, expected.left)
        np.testing.assert_array_equal(pairs.right, expected.right)
        np.testing.assert_allclose(pairs.distance_arcsec, expected.sep_arcsec, rtol=0, atol=1e-9)
        first = np.r_[True, pairs.left[1:] != pairs.left[:-1]] if len(pairs) else []
        np.testing.assert_array_equal(pairs.rank == 1, first)
    return expected


@given(patch=patches(), radius=radii, k=neighbours, minimum=minima)
def test_small_patches(patch, radius, k, minimum):
    minimum = minimum if minimum < radius else 0.0
    assert_equal(patch[:2], patch[2:4], MatchRule(radius, k, minimum), patch[4])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("spread_deg", "radius"), [(0.01, 20.0), (0.5, 900.0), (8.0, 7200.0), (70.0, 3600.0 * 35)], ids=str
)
def test_every_place_at_every_scale(place, spread_deg, radius):
    rng = np.random.default_rng(7)
    left = clump(rng, *PLACES[place], 120, spread_deg)
    right = clump(rng, *PLACES[place], 400, spread_deg)
    for k, minimum in ((1, 0.0), (4, 0.0), (None, radius / 3), (1, radius / 2)):
        assert len(assert_equal(left, right, MatchRule(radius, k, minimum)))


@pytest.mark.parametrize("radius_deg", [39.0, 100.0, 180.0])
def test_radii_beyond_base_cells(radius_deg):
    rng = np.random.default_rng(8)
    left, right = clump(rng, 10, 20, 40, 180.0), clump(rng, 10, 20, 300, 180.0)
    for k in (1, None):
        assert_equal(left, right, MatchRule(radius_deg * 3600.0, k))


def test_rough_sky():
    sky = rough_sky(np.random.default_rng(5), right=200, left=120, background=500)
    right = sky.frame["ra"].to_numpy(), sky.frame["dec"].to_numpy()
    for rule in (MatchRule(1.0), MatchRule(10.0, None), MatchRule(5.0, 3, 1.0)):
        assert_equal((sky.ra, sky.dec), right, rule, sky.ids)


def test_radius_at_a_separation_is_inclusive_and_the_minimum_exclusive():
    rng = np.random.default_rng(3)
    left, right = clump(rng, 45.0, 41.81, 50, 0.001), clump(rng, 45.0, 41.81, 50, 0.001)
    everything = brute_force(*left, *right, 10.0)
    for separation in np.unique(everything.sep_arcsec)[:40]:
        assert_equal(left, right, MatchRule(separation, None))
        assert_equal(left, right, MatchRule(10.0, None, separation))


def test_separation_zero_matches_unless_a_minimum_is_set():
    sky = SortedSky.from_positions([10.0], [20.0])
    assert len(match_sorted([10.0], [20.0], sky, MatchRule(1.0))) == 1
    assert len(match_sorted([10.0], [20.0], sky, MatchRule(1.0, 1, 1e-9))) == 0


def test_ties_go_to_the_smaller_id_whatever_the_order_of_rows():
    rng = np.random.default_rng(4)
    # Rows on one spot, and rows mirrored about the meridian of the position.
    right_ra = np.r_[np.full(6, 30.0), 30.0 + np.array([1, -1, 2, -2]) / 3600]
    right_dec = np.r_[np.full(6, 10.0), np.full(4, 10.0)]
    ids = np.arange(len(right_ra)) + 50
    expected = None
    for _ in range(20):
        order = rng.permutation(len(ids))
        sky = SortedSky.from_positions(right_ra[order], right_dec[order])
        for pairs in both_ways(([30.0], [10.0]), sky, MatchRule(5.0, 5), (ids[order][sky.rows],)):
            found = ids[order][pairs.right].tolist()
            expected = expected or found
            assert found == expected == [50, 51, 52, 53, 54]


@pytest.mark.parametrize("k", [2**62, np.int64(2**63 - 1), 2**64])
def test_more_neighbours_than_can_be_counted_are_all(k):
    sky = SortedSky.from_positions(30.0 + np.arange(500) / 36000, np.full(500, 10.0))
    for pairs in both_ways(([30.0], [10.0]), sky, MatchRule(100.0, k)):
        assert pairs.right.tolist() == list(range(500))


def test_blocks_and_crowds_change_nothing(monkeypatch):
    rng = np.random.default_rng(6)
    left, right = clump(rng, 0.0, 90.0, 300, 0.05), clump(rng, 0.0, 90.0, 3000, 0.05)
    right = np.r_[right[0], np.full(500, right[0][0])], np.r_[right[1], np.full(500, right[1][0])]
    rules = [MatchRule(100.0, 1), MatchRule(100.0, 7), MatchRule(100.0, 2, 20.0), MatchRule(60.0, None)]
    expected = [assert_equal(left, right, rule) for rule in rules]
    monkeypatch.setattr(pairs_module, "BLOCK_CANDIDATES", 97)
    monkeypatch.setattr(pairs_module, "CROWDED", 3)
    for rule, pairs in zip(rules, expected, strict=True):
        assert_equal(left, right, rule, expected=pairs)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_empty_sides(n, m):
    rng = np.random.default_rng(2)
    assert_equal(clump(rng, 1, 1, n, 0.001), clump(rng, 1, 1, m, 0.001), MatchRule(10.0, None))


def test_rank_pairs_cuts_each_row():
    order, rank = rank_pairs(np.array([2, 0, 2, 2]), np.array([3.0, 1.0, 1.0, 1.0]), [np.array([0, 0, 9, 4])], 2)
    assert order.tolist() == [1, 3, 2]
    assert rank.tolist() == [1, 1, 2]
