"""What is counted while rows stream past does not depend on the pieces in which they come."""

from __future__ import annotations

import numpy as np
import pytest

from xmatch_hats.healpix import cells_of
from xmatch_hats.plots import tallies
from xmatch_hats.plots.tallies import CellCounts, Cloud, Histogram


@pytest.fixture
def points():
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 5000), np.degrees(np.arcsin(rng.uniform(-1, 1, 5000)))
    return cells_of(ra, dec), rng.integers(0, 3, 5000)


def dense(counts, order):
    cells, by_kind = counts.at(order)
    image = np.zeros((counts.kinds, 12 << 2 * order), np.int64)
    image[:, cells] = by_kind
    return image


def test_cells_hold_every_row_once(points):
    index, kind = points
    counts = CellCounts(3)
    for piece in np.array_split(np.arange(5000), 7):
        counts.add(index[piece], kind[piece])
    assert counts.settled().order == tallies.DEEPEST_ORDER
    for order in (0, 3, 12):
        cells, by_kind = counts.at(order)
        assert (np.diff(cells) > 0).all()
        expected = [np.isin(index[kind == number] >> 2 * (29 - order), cells).sum() for number in range(3)]
        assert by_kind.sum(axis=1).tolist() == expected
    image = np.zeros((3, 12 << 6), np.int64)
    np.add.at(image, (kind, index >> 2 * 26), 1)
    assert (dense(counts, 3) == image).all()


def test_too_many_cells_become_coarser_ones_whatever_the_pieces(points, monkeypatch):
    index, kind = points
    monkeypatch.setattr(tallies, "MAX_CELLS", 1000)
    orders = set()
    for pieces, pending in ((1, 10**6), (50, 10**6), (50, 64)):
        monkeypatch.setattr(tallies, "_PENDING", pending)
        counts = CellCounts(3)
        for piece in np.array_split(np.arange(5000), pieces):
            counts.add(index[piece], kind[piece])
        orders.add(counts.settled().order)
        image = np.zeros((3, 12 << 6), np.int64)
        np.add.at(image, (kind, index >> 2 * 26), 1)
        assert (dense(counts, 3) == image).all()
    # 768 cells at order 3, 3,072 at order 4.
    assert orders == {3}


def test_counts_of_a_map_are_added(points):
    index, kind = points
    one, other = CellCounts(3, 8), CellCounts(3, 8)
    one.add(index, kind)
    for number in range(3):
        cells, counts = np.unique(index[kind == number] >> 2 * 21, return_counts=True)
        other.add_counts(cells, number, counts, 8)
    assert (dense(one, 5) == dense(other, 5)).all()


def test_an_empty_map():
    cells, counts = CellCounts(3).at(4)
    assert cells.shape == (0,)
    assert counts.shape == (3, 0)


def test_a_histogram_counts_what_is_in_it_and_what_is_not():
    histogram = Histogram(0.0, 2.0, 4)
    histogram.add(np.array([0.0, 0.49, 0.5, 2.0, 2.01, -0.1, np.nan, np.inf]))
    assert histogram.counts.tolist() == [2, 1, 0, 1]
    assert (histogram.total, histogram.outside) == (4, 2)
    edges, counts = histogram.rebinned(2)
    assert edges.tolist() == [0.0, 1.0, 2.0]
    assert counts.tolist() == [3, 1]


def test_medians_are_right_to_a_bin():
    values = np.random.default_rng(2).normal(0.3, 0.2, 1001)
    histogram = Histogram(-2.0, 2.0, 4000)
    for piece in np.array_split(values, 9):
        histogram.add(piece)
    assert histogram.median() == pytest.approx(np.median(values), abs=0.001)
    assert Histogram(0.0, 1.0, 10).median() is None


def test_a_cloud_counts_points_with_both_coordinates():
    cloud = Cloud((-1.0, 1.0), (-2.0, 2.0), 4)
    cloud.add(np.array([-0.9, 0.1, np.nan, 0.2]), np.array([1.9, 0.1, 0.0, np.inf]))
    assert cloud.total == 2
    assert cloud.counts[0, 3] == cloud.counts[2, 2] == 1
    assert (cloud.x.total, cloud.y.total) == (2, 2)
