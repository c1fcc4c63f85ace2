"""Coverage estimated from rows: inside the patch that holds them, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.catalogs.geometry import offset, points_near
from xmatch_hats import healpix
from xmatch_hats.catalogs import coverage_rows
from xmatch_hats.catalogs.coverage import Coverage


def rows_in_cap(ra, dec, radius_deg, per_deg2, rng):
    n = rng.poisson(per_deg2 * np.pi * radius_deg**2)
    return np.sort(healpix.cells_of(*points_near(ra, dec, radius_deg, n, rng)))


@pytest.mark.parametrize(("ra", "dec"), [(10, 20), (0, 0), (77, 90), (180, -89.5), (45, 41.81)])
@pytest.mark.parametrize("per_deg2", [3000, 18100])
def test_the_patch_and_only_the_patch_is_covered(ra, dec, per_deg2):
    rng = np.random.default_rng(7)
    coverage = Coverage.from_rows(rows_in_cap(ra, dec, 2.0, per_deg2, rng))
    assert coverage.estimated
    assert coverage.kind == "rows"
    angle = rng.uniform(0, 2 * np.pi, 3000)
    outside = coverage.contains_discs(*offset(ra, dec, rng.uniform(2.0, 3.0, 3000), angle), 0)
    cell = np.degrees(2 * healpix.cell_radius_rad(coverage.order))
    inside = coverage.contains_discs(*offset(ra, dec, (2.0 - 2 * cell) * np.sqrt(rng.random(3000)), angle), 0)
    assert not outside.any()
    assert inside.all()


def test_order_follows_the_density():
    rng = np.random.default_rng(8)
    for per_deg2 in (2_000, 30_000):
        coverage = Coverage.from_rows(rows_in_cap(120, -30, 1.5, per_deg2, rng))
        area = 41252.96 / (12 * 4**coverage.order)
        assert 25 <= per_deg2 * area <= 4 * 35


def test_streamed_equals_whole_in_any_order_within_bounds(monkeypatch):
    rng = np.random.default_rng(9)
    rows = rows_in_cap(0, 89, 2.0, 18100, rng)
    whole = Coverage.from_rows(rows)
    monkeypatch.setattr(coverage_rows, "MAX_CELLS", 1 << 17)
    streamed = Coverage.from_rows(part for part in np.array_split(rng.permutation(rows), 37))
    np.testing.assert_array_equal(streamed.ranges, whole.ranges)
    assert streamed.order == whole.order


def test_bound_on_cells_coarsens_the_count(monkeypatch):
    monkeypatch.setattr(coverage_rows, "MAX_CELLS", 1000)
    counter = coverage_rows._CellCounts()
    finest = 1 << 2 * (healpix.MAX_ORDER - coverage_rows.DEEPEST_ORDER)
    spread = np.arange(3000) * finest
    for part in np.array_split(spread, 11):
        counter.add(part)
    occupied, counts = counter.consolidate()
    assert counter.order == coverage_rows.DEEPEST_ORDER - 1
    assert len(occupied) == 750
    assert counts.sum() == 3000


@pytest.mark.parametrize("n", [0, 1, 29])
def test_too_few_rows_to_tell(n):
    coverage = Coverage.from_rows(np.arange(n) << 40)
    assert coverage.sky_fraction == 0.0
    assert not coverage.contains_discs([45.0], [0.5], 1).any()


def test_rows_all_over_the_sky_cover_it():
    rng = np.random.default_rng(11)
    ra, dec = rng.uniform(0, 360, 60_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 60_000)))
    coverage = Coverage.from_rows(np.sort(healpix.cells_of(ra, dec)))
    assert coverage.sky_fraction > 0.999
