from __future__ import annotations

import cdshealpix.nested as healpix
import numpy as np
import pytest

from tests.matching.skies import PLACES, clump
from tests.oracle import brute_force
from xmatch_hats.matching.cells import NARROWEST_RADIANS, cover_order, cover_ranges, spatial_index


@pytest.mark.parametrize("order", range(4))
def test_no_block_of_neighbours_is_narrower_than_the_constant(order):
    cells = np.arange(12 * 4**order, dtype=np.uint64)
    lon, lat = (a.to_value("rad") for a in healpix.vertices(cells, order, step=8))
    borders = np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)), axis=-1)
    near = healpix.neighbours(cells, order)
    narrowest = np.inf
    for cell in cells:
        block = set(near[cell]) - {-1}
        ring = {c for b in block for c in near[b]} - block - {-1}
        if ring:
            outside = borders[np.array(sorted(ring))].reshape(-1, 3)
            narrowest = min(narrowest, np.sqrt(((borders[cell][:, None] - outside) ** 2).sum(-1).min()))
    assert 2 * np.arcsin(narrowest / 2) * 2**order > NARROWEST_RADIANS


@pytest.mark.parametrize("radius_arcsec", [0.01, 1.0, 60.0, 3600.0, 3600.0 * 30])
def test_covers_hold_every_position_within_the_radius(radius_arcsec):
    rng = np.random.default_rng(1)
    for ra, dec in PLACES.values():
        left = clump(rng, ra, dec, 60, radius_arcsec / 3600)
        right = clump(rng, ra, dec, 200, 2 * radius_arcsec / 3600)
        starts, stops = cover_ranges(spatial_index(*left), radius_arcsec)
        index = spatial_index(*right)
        inside = ((index[None, :, None] >= starts[:, None, :]) & (index[None, :, None] < stops[:, None, :])).sum(-1)
        assert inside.max() == 1
        pairs = brute_force(*left, *right, radius_arcsec)
        assert len(pairs)
        assert (inside[pairs.left, pairs.right] == 1).all()


def test_cover_orders():
    assert cover_order(1e-9) == 29
    assert cover_order(1.0) == 17
    assert cover_order(3600.0 * 37) == 0
    assert cover_order(3600.0 * 38) is None


def test_right_ascensions_wrap():
    ra = np.array([-1e-15, -360.0, 360.0, 720.0, -350.0, 370.0])
    dec = np.zeros(6)
    expected = spatial_index([0.0, 0.0, 0.0, 0.0, 10.0, 10.0], dec)
    np.testing.assert_array_equal(spatial_index(ra, dec), expected)
