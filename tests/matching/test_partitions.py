from __future__ import annotations

import numpy as np

from tests.matching.skies import PLACES, clump
from tests.oracle import brute_force
from xmatch_hats.healpix import cells_of, cover_ranges
from xmatch_hats.matching.partitions import PartitionIndex, expand_ranges


def random_partitions(rng):
    """Partitions of orders 0 to 6 with holes."""
    pixels = [(0, p) for p in range(12)]
    for _ in range(400):
        order, pixel = pixels.pop(rng.integers(len(pixels)))
        if order < 6:
            pixels += [(order + 1, 4 * pixel + i) for i in range(4)]
    return [pixels[i] for i in rng.permutation(len(pixels)) if rng.random() < 0.7]


def test_home_and_touched_against_every_position():
    rng = np.random.default_rng(11)
    pixels = random_partitions(rng)
    index = PartitionIndex.from_pixels(pixels)
    assert sorted(index.pixels) == sorted(pixels)
    for place in PLACES.values():
        left, right = clump(rng, *place, 80, 0.5), clump(rng, *place, 300, 1.0)
        home = index.home(cells_of(*right))
        cells = cells_of(*right)
        for i, cell in zip(home, cells, strict=True):
            inside = [n for n, (o, p) in enumerate(index.pixels) if cell >> (2 * (29 - o)) == p]
            assert inside == ([] if i < 0 else [i])
        rows, touched = index.touched(cells_of(*left), 600.0)
        found = set(zip(rows.tolist(), touched.tolist(), strict=True))
        assert len(found) == len(rows)
        pairs = brute_force(*left, *right, 600.0)
        needed = {(a, home[b]) for a, b in zip(pairs.left, pairs.right, strict=True) if home[b] >= 0}
        assert needed <= found


def test_touched_are_the_partitions_that_the_blocks_overlap():
    """Also where a block just reaches a border, which only some of the radii do here."""
    rng = np.random.default_rng(12)
    index = PartitionIndex.from_pixels(random_partitions(rng))
    corners = np.r_[index.starts, index.stops - 1]
    anywhere = cells_of(*clump(rng, 0.0, 0.0, 2000, 180.0))
    near = np.clip(corners + rng.integers(-(1 << 24), 1 << 24, len(corners)), 0, (12 << 58) - 1)
    cells = rng.permutation(np.r_[corners, near, anywhere])
    for radius in (1e-4, 1.0, 600.0, 3600.0 * 5, 3600.0 * 35):
        starts, stops = cover_ranges(cells, radius)
        ranges, partitions = index.overlapping(starts.ravel(), stops.ravel())
        # A number for each pair: as tuples they would take ten times as long.
        expected = np.unique(ranges // starts.shape[1] * len(index.pixels) + partitions)
        rows, touched = index.touched(cells, radius)
        assert 0 <= touched.min() <= touched.max() < len(index.pixels)
        np.testing.assert_array_equal(rows * len(index.pixels) + touched, expected)


def test_no_partitions():
    index = PartitionIndex.from_pixels([])
    cells = cells_of([1.0], [2.0])
    assert index.home(cells).tolist() == [-1]
    assert [len(x) for x in index.touched(cells, 10.0)] == [0, 0]


def test_whole_sky_discs_touch_every_partition():
    index = PartitionIndex.from_pixels([(1, 5), (0, 3)])
    rows, touched = index.touched(cells_of([1.0, 2.0], [2.0, 3.0]), 3600.0 * 90)
    assert rows.tolist() == [0, 0, 1, 1]
    assert touched.tolist() == [0, 1, 0, 1]


def test_expand_ranges():
    assert expand_ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert expand_ranges(np.array([], int), np.array([], int)).tolist() == []
