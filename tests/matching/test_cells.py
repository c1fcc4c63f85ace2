"""The loop over sorted positions, part by part."""

from __future__ import annotations

import cdshealpix.nested as healpix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.matching.skies import PLACES, clump
from tests.oracle import brute_force
from xmatch_hats.healpix import cells_of
from xmatch_hats.matching import cells
from xmatch_hats.matching import pairs as pairs_module
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.sorted import SortedFinder, SortedSky, match_sorted


@pytest.mark.parametrize("order", [0, 1, 2, 3, 8, 17, 29])
def test_parents_cover_the_block_and_borders_are_known(order):
    rng = np.random.default_rng(order)
    corners = (np.arange(12)[:, None] << (2 * order)) + np.array([0, (1 << (2 * order)) - 1])
    middles = np.unique(np.r_[rng.integers(0, 12 << (2 * order), 500), corners.ravel()])
    around = np.asarray(healpix.neighbours(middles.astype(np.uint64), order), dtype=np.int64)
    crosses = cells.crossing(middles, np.array([order]))
    whole = (around >= 0).all(axis=1) & (around >> (2 * order) == (middles >> (2 * order))[:, None]).all(axis=1)
    np.testing.assert_array_equal(crosses, ~whole)
    shift = 2 * (29 - order)
    starts, stops = np.empty(4, np.int64), np.empty(4, np.int64)
    for middle, block in zip(middles[whole].tolist(), around[whole], strict=True):
        for depth in range(1, order + 1):
            number = cells._cover(middle, depth, shift, starts, stops)
            parents = np.unique(block >> (2 * depth))
            assert sorted(starts[:number].tolist()) == (parents << (shift + 2 * depth)).tolist()
            assert starts[0] >> (shift + 2 * depth) == middle >> (2 * depth)
            assert (stops - starts)[:number].tolist() == [1 << (shift + 2 * depth)] * number


@pytest.mark.parametrize("place", [0, 1, 37, 4094])
def test_parents_beside_a_crowd_hold_few_rows(place):
    """The rows all lie in one stretch; the parents of a block next to it, at first as large as can be, become small."""
    order, shift = 17, 24
    index = (np.int64(4095) << (shift + 10)) + np.arange(0, 100_000, dtype=np.int64) * 1000
    middle = ((4095 << 10) - 1 - place) if place else (4095 << 10) + 5
    starts, stops, places = (np.empty(4, np.int64) for _ in range(3))
    number, depth = cells._settle(middle, order, shift, index, 0, (starts, stops, places))
    held = np.searchsorted(index, stops[:number]) - np.searchsorted(index, starts[:number])
    assert places[:number].tolist() == np.searchsorted(index, starts[:number]).tolist()
    assert depth == 1 or held.max() <= cells._MANY
    whole = cells._settle(middle, order, shift, index[:3], 0, (starts, stops, places))
    assert whole[1] == order


@given(st.lists(st.integers(0, 60), max_size=40).map(sorted), st.integers(-1, 61), st.integers(0, 40))
def test_places(index, target, near):
    index = np.array(index, dtype=np.int64)
    assert cells._first(index, target, min(near, len(index))) == np.searchsorted(index, target)


@given(st.lists(st.one_of(st.integers(0, 300), st.integers(0, (12 << 58) - 1)), max_size=60))
def test_sorting(values):
    values = np.array(values, dtype=np.int64)
    ascending, order = cells.radix_sort(values)
    np.testing.assert_array_equal(order, np.argsort(values, kind="stable"))
    np.testing.assert_array_equal(ascending, np.sort(values))


@pytest.mark.parametrize("radius", [1e-7, 1e-5, 1e-3, 0.02])
@pytest.mark.parametrize("place", PLACES)
def test_radii_below_the_finest_cells(place, radius):
    """Positions closer to each other than the cells of order 29 are wide, which are 0.4 mas."""
    rng = np.random.default_rng(1)
    right = clump(rng, *PLACES[place], 300, radius / 3600)
    near = clump(rng, *PLACES[place], 100, radius / 3600)
    ra, dec = (np.r_[its[:100], mine] for its, mine in zip(right, near, strict=True))
    sky = SortedSky.from_positions(*right)
    expected = brute_force(ra, dec, *right, radius)
    pairs = match_sorted(ra, dec, sky, MatchRule(radius, None))
    assert len(pairs) > 100
    np.testing.assert_array_equal(pairs.left, expected.left)
    np.testing.assert_array_equal(np.sort(pairs.distance_arcsec), np.sort(expected.sep_arcsec))


def dense_and_sparse(rng, size):
    """A sky whose density differs a million times from place to place."""
    spreads = 10.0 ** rng.uniform(-4, 1.5, 12)
    parts = [clump(rng, *place, size, spread) for place, spread in zip(PLACES.values(), spreads, strict=False)]
    return tuple(np.concatenate(angles) for angles in zip(*parts, strict=True))


def test_arrays_of_any_kind_and_order_give_one_answer(monkeypatch):
    rng = np.random.default_rng(2)
    right, left = dense_and_sparse(rng, 200), dense_and_sparse(rng, 50)
    left = tuple(np.r_[mine, its[::7]] for mine, its in zip(left, right, strict=True))
    sky = SortedSky.from_positions(*right)
    expected = brute_force(*left, *right, 30.0)
    index = cells_of(*left)
    order = np.argsort(index)
    strided = np.stack([sky.index, sky.ra.view(np.int64), sky.dec.view(np.int64)], axis=1)
    mapped = SortedSky(strided[:, 0], strided[:, 1].view(float), strided[:, 2].view(float), sky.rows)
    frozen = SortedSky(*(np.frombuffer(array.tobytes(), array.dtype) for array in (sky.index, sky.ra, sky.dec)))
    assert not frozen.ra.flags.writeable
    assert frozen.rows is None
    for _ in range(2):
        for there in (sky, mapped, frozen):
            for rows in (np.arange(len(index)), order, rng.permutation(len(index))):
                ra, dec = left[0][rows], left[1][rows]
                pairs = match_sorted(ra, dec, there, MatchRule(30.0, None), index=index[rows])
                found = pairs.right if there.rows is not None else sky.rows[pairs.right]
                got = np.stack([rows[pairs.left], found], axis=1)
                by_row = np.lexsort((got[:, 1], got[:, 0]))
                want = np.stack([expected.left, expected.right], axis=1)
                np.testing.assert_array_equal(got[by_row], want[np.lexsort((want[:, 1], want[:, 0]))])
        monkeypatch.setattr(pairs_module, "BLOCK_CANDIDATES", 50)


def test_crowded_rows_are_named_and_left_out():
    rng = np.random.default_rng(3)
    right = clump(rng, 0.0, 90.0, 1000, 10 / 3600)
    sky = SortedSky.from_positions(*right)
    left = np.array([0.0, 0.0, 10.0, 20.0]), np.array([90.0, 89.99, 90.0, -10.0])
    finder = SortedFinder(cells_of(*left), *left, sky)
    (block,) = finder.find(np.arange(4), 20.0, 100)
    assert sorted(block.crowded.tolist()) == [0, 2]
    assert len(block.left) == len(block.right) == 0
    counts = sum(np.bincount(block.left, minlength=4) for block in finder.find(np.arange(4), 20.0, None))
    assert counts.tolist() == [1000, 0, 1000, 0]
