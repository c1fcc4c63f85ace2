"""Cells of positions, and the proven bounds on what a cell and its neighbours hold."""

from __future__ import annotations

import cdshealpix.nested
import numpy as np
import pytest
from hats.pixel_math.spatial_index import compute_spatial_index

from tests.matching.skies import PLACES, clump
from tests.oracle import brute_force, xyz
from xmatch_hats.healpix import NEIGHBOUR_WIDTH_RAD, cell_radius_rad, cells_of, centres_of, cover_order, cover_ranges


def borders(cells, order):
    """Points along the edges of cells as unit vectors, shape (n, 32, 3)."""
    lon, lat = cdshealpix.nested.vertices(cells.astype(np.uint64), order, step=8)
    return xyz(lon.deg, lat.deg)


def hard_cells(order):
    """All cells of a low order; of a high one those about the corners of base cells and where cells are narrowest."""
    if order < 4:
        return np.arange(12 * 4**order)
    rng = np.random.default_rng(order)
    # Along the meridians where the polar base cells meet, and at the corners of base cells on |sin dec| = 2/3.
    z = 1 - 10 ** rng.uniform(-2 * order * np.log10(2), -0.4772, 60)
    along = np.degrees(np.arcsin(z)) * rng.choice([-1, 1], 60), rng.choice([0.0, 90.0, 180.0, 270.0], 60)
    corners = [clump(rng, ra, dec, 6, 60 / 2**order) for ra in (0, 45, 90) for dec in (90, 41.8103, 0, -41.8103, -90)]
    ra = np.concatenate([along[1] + rng.normal(0, 30 / 2**order, 60), *(ra for ra, _ in corners)])
    dec = np.clip(np.concatenate([along[0], *(dec for _, dec in corners)]), -90, 90)
    return np.unique(cells_of(ra, dec, order))


@pytest.mark.parametrize("order", [0, 1, 2, 3, 6, 12, 19])
def test_no_block_of_neighbours_is_narrower_than_the_constant(order):
    narrowest = np.inf
    for cell in hard_cells(order):
        block = set(cdshealpix.nested.neighbours(np.array([cell], np.uint64), order)[0]) - {-1}
        around = cdshealpix.nested.neighbours(np.array(sorted(block), np.uint64), order)
        ring = set(around.ravel()) - block - {-1}
        if ring:
            outside = borders(np.array(sorted(ring)), order).reshape(-1, 3)
            chord = np.linalg.norm(borders(np.array([cell]), order)[0][:, None] - outside, axis=-1).min()
            narrowest = min(narrowest, 2 * np.arcsin(chord / 2) * 2**order)
    assert narrowest > NEIGHBOUR_WIDTH_RAD
    # Nor is the constant far too careful.
    assert order < 6 or narrowest < 1.1 * NEIGHBOUR_WIDTH_RAD


@pytest.mark.parametrize("order", [0, 1, 3, 6, 12, 19])
def test_no_cell_reaches_further_from_its_centre_than_told(order):
    cells = hard_cells(order)
    centres = xyz(*centres_of(cells, order))
    reach = 2 * np.arcsin(np.linalg.norm(borders(cells, order) - centres[:, None], axis=-1) / 2).max()
    assert reach <= cell_radius_rad(order)
    assert order > 3 or reach > 0.999 * cell_radius_rad(order)


@pytest.mark.parametrize("radius_arcsec", [0.01, 1.0, 60.0, 3600.0, 3600.0 * 30])
def test_covers_hold_every_position_within_the_radius(radius_arcsec):
    rng = np.random.default_rng(1)
    for ra, dec in PLACES.values():
        left = clump(rng, ra, dec, 60, radius_arcsec / 3600)
        right = clump(rng, ra, dec, 200, 2 * radius_arcsec / 3600)
        starts, stops = cover_ranges(cells_of(*left), radius_arcsec)
        index = cells_of(*right)
        inside = ((index[None, :, None] >= starts[:, None, :]) & (index[None, :, None] < stops[:, None, :])).sum(-1)
        assert inside.max() == 1
        pairs = brute_force(*left, *right, radius_arcsec)
        assert len(pairs)
        assert (inside[pairs.left, pairs.right] == 1).all()


def test_cover_orders():
    assert cover_order(0.0) == 29
    assert cover_order(1e-9) == 29
    assert cover_order(1.0) == 17
    assert cover_order(3600.0 * 37) == 0
    assert cover_order(3600.0 * 38) is None


def test_right_ascensions_wrap():
    ra = np.array([-1e-15, -360.0, 360.0, 720.0, -350.0, 370.0])
    expected = cells_of([0.0, 0.0, 0.0, 0.0, 10.0, 10.0], np.zeros(6))
    np.testing.assert_array_equal(cells_of(ra, np.zeros(6)), expected)
    assert cells_of([], []).shape == (0,)


def test_cells_are_those_of_hats():
    rng = np.random.default_rng(4)
    ra, dec = rng.uniform(-360, 720, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))
    np.testing.assert_array_equal(cells_of(ra, dec), compute_spatial_index(ra, dec))
