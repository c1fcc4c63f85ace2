"""Pixels within a distance of a position, against densely sampled pixel borders."""

from __future__ import annotations

import cdshealpix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import KDTree

from tests.oracle import ARCSEC, xyz
from xmatch_hats.catalogs.verify.tiling import (
    REACH,
    Tiling,
    cell_centres,
    cell_size_arcsec,
)
from xmatch_hats.healpix import FULL_SKY_END, cells_of


def border_points(pixel, levels):
    """Unit vectors along the four sides of a pixel, ``2**levels`` a side, from the cells within it that touch them."""
    order, number = pixel
    along = np.arange(1 << levels)
    spread = sum(((along >> bit) & 1) << 2 * bit for bit in range(levels))
    last = (1 << levels) - 1
    full = sum(((last >> bit) & 1) << 2 * bit for bit in range(levels))
    end = 1 - 1e-12
    sides = []
    corners = [
        (spread, [(0, 0), (end, 0)]),
        (spread << 1, [(0, 0), (0, end)]),
        (spread | full << 1, [(0, end), (end, end)]),
        (spread << 1 | full, [(end, 0), (end, end)]),
    ]
    for inside, dx, dy in [(inside, dx, dy) for inside, ends in corners for dx, dy in ends]:
        cells = ((number << 2 * levels) + inside).astype(np.uint64)
        lon, lat = cdshealpix.healpix_to_lonlat(cells, np.uint8(order + levels), dx=dx, dy=dy)
        sides.append(xyz(lon.deg, lat.deg))
    return np.concatenate(sides)


def border_distance_arcsec(ra, dec, pixel, levels=12):
    """Distance to the nearest sampled point of a pixel's border: never less than the true one."""
    chord, _ = KDTree(border_points(pixel, levels)).query(xyz(ra, dec))
    return 2 * np.arcsin(chord / 2) * ARCSEC


def test_no_point_of_a_cell_is_beyond_its_reach():
    for order in range(5):
        cells = np.arange(12 << 2 * order)
        centres = cell_centres(cells, order)
        for along in np.linspace(0, 1 - 1e-9, 17):
            for dx, dy in [(along, 0), (along, 1 - 1e-9), (0, along), (1 - 1e-9, along)]:
                lon, lat = cdshealpix.healpix_to_lonlat(cells.astype(np.uint64), np.uint8(order), dx=dx, dy=dy)
                away = 2 * np.arcsin(np.linalg.norm(xyz(lon.deg, lat.deg) - centres, axis=-1) / 2) * ARCSEC
                assert away.max() < REACH * cell_size_arcsec(order)


def test_a_tiling_covers_the_sphere_once():
    tiling = Tiling.of([(0, 3), (2, 17), (5, 12287), (7, 4)])
    widths = 1 << 2 * (29 - tiling.orders)
    assert tiling.starts[0] == 0
    assert (tiling.starts[1:] == (tiling.starts + widths)[:-1]).all()
    assert tiling.starts[-1] + widths[-1] == FULL_SKY_END
    assert {tiling.partition(tile) for tile in np.flatnonzero(tiling.listed)} == {(0, 3), (2, 17), (5, 12287), (7, 4)}
    assert len(Tiling.of([])) == 12


PIXELS = [(0, 0), (0, 4), (0, 6), (0, 9), (1, 3), (1, 19), (1, 40), (2, 0), (2, 15), (2, 128), (3, 400), (3, 63)]


@pytest.mark.parametrize("pixel", PIXELS)
@pytest.mark.parametrize("radius_arcsec", [60.0, 3600.0, 20000.0])
def test_near_agrees_with_dense_borders(pixel, radius_arcsec):
    """Positions about a pixel's border; within what the sampling of the border leaves open, nothing is claimed."""
    rng = np.random.default_rng(pixel[1])
    border = border_points(pixel, 6)
    at = border[rng.integers(0, len(border), 600)] + rng.normal(size=(600, 3)) * radius_arcsec / ARCSEC
    at /= np.linalg.norm(at, axis=1)[:, None]
    ra = np.degrees(np.arctan2(at[:, 1], at[:, 0]))
    dec = np.degrees(np.arcsin(np.clip(at[:, 2], -1, 1)))
    tiling = Tiling.of([pixel])
    tile = tiling.index()[pixel]
    cells = cells_of(ra, dec)
    owners = tiling.owners(cells)
    found = np.zeros(len(ra), dtype=bool)
    for own in np.unique(owners[owners != tile]):
        mine = np.flatnonzero(owners == own)
        rows, tiles = tiling.near(cells[mine], ra[mine], dec[mine], int(own), radius_arcsec)
        assert len(set(zip(rows.tolist(), tiles.tolist(), strict=True))) == len(rows)
        found[mine[rows[tiles == tile]]] = True
    outside = owners != tile
    levels = max(1, min(16, int(np.log2(cell_size_arcsec(pixel[0]) / radius_arcsec * 30))))
    away = border_distance_arcsec(ra, dec, pixel, levels)
    step = 2 * cell_size_arcsec(pixel[0]) / 2**levels
    slack = np.hypot(radius_arcsec, step) - radius_arcsec + 1e-3
    assert slack < 0.02 * radius_arcsec
    assert found[outside & (away <= radius_arcsec)].all()
    assert not found[outside & (away > radius_arcsec + slack)].any()
    assert not found[~outside].any()


@given(
    place=st.integers(0, 7),
    north=st.floats(-1, 1),
    east=st.floats(-1, 1),
    radius=st.sampled_from([1.0, 30.0, 1200.0]),
    angle=st.floats(0, 6.3),
    reach=st.floats(0, 0.999),
)
def test_every_tile_that_a_disc_meets_is_near(place, north, east, radius, angle, reach):
    """A point within the radius lies in the position's own tile or in one that is near it."""
    from tests.catalogs.verify_sky import CORNERS

    tiling = Tiling.of([(order, number) for order, number in [(0, 1), (1, 0), (3, 50), (4, 1900), (6, 40000)]])
    centre = xyz(*CORNERS[place])
    axis = np.array([0.6, 0.64, 0.48])
    first = np.cross(centre, axis)
    first /= np.linalg.norm(first)
    second = np.cross(centre, first)
    at = centre + (first * north + second * east) * 2 * radius / ARCSEC
    at /= np.linalg.norm(at)
    side = np.cross(at, axis)
    side /= np.linalg.norm(side)
    turn = side * np.cos(angle) + np.cross(at, side) * np.sin(angle)
    other = at * np.cos(reach * radius / ARCSEC) + turn * np.sin(reach * radius / ARCSEC)
    both = np.stack((at, other))
    ra = np.degrees(np.arctan2(both[:, 1], both[:, 0]))
    dec = np.degrees(np.arctan2(both[:, 2], np.hypot(both[:, 0], both[:, 1])))
    cells = cells_of(ra, dec)
    owners = tiling.owners(cells)
    _, tiles = tiling.near(cells[:1], ra[:1], dec[:1], int(owners[0]), radius)
    assert int(owners[1]) in {int(owners[0]), *tiles.tolist()}
