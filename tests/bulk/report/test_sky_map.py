"""Maps show every cell where it lies, east on the left."""

from __future__ import annotations

import numpy as np
import pytest

from tests.copies import patch_table, sky_table
from xmatch_hats.bulk.report.sky_map import MOLLWEIDE_DEG, SkyView, choose_view, raster
from xmatch_hats.bulk.report.tallies import CellCounts
from xmatch_hats.healpix import cells_of, centres_of


def counted(table):
    sky = CellCounts(3)
    sky.add(cells_of(table["ra"], table["dec"]), np.zeros(table.num_rows, np.int64))
    return sky


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (120.0, 60.0), (0.0, 90.0), (200.0, -89.5)])
def test_a_region_is_shown_whole(ra, dec):
    sky = counted(patch_table(20_000, ra, dec, 1.0))
    view = choose_view(sky)
    assert not view.is_whole_sky
    assert 1.0 < view.half_width_deg < 1.3
    assert view.dec == pytest.approx(dec, abs=0.02)
    cells, counts = sky.at(view.order)
    image = raster(view, cells, np.arange(len(cells), dtype=np.float64))
    # Every cell is there.
    assert set(image[np.isfinite(image)].astype(int)) == set(range(len(cells)))
    assert np.median(counts[0]) >= 20


def test_the_whole_sky():
    sky = counted(sky_table(20_000))
    view = choose_view(sky)
    assert view.is_whole_sky
    cells, _ = sky.at(view.order)
    image = raster(view, cells, np.ones(len(cells)))
    # An ellipse in a box that holds it.
    assert np.isfinite(image).mean() == pytest.approx(np.pi / 4, abs=0.005)


def test_few_inputs_of_the_whole_sky_have_large_cells_but_not_too_large():
    assert choose_view(counted(sky_table(30))).order == 2
    assert choose_view(counted(sky_table(200_000))).order >= 4


@pytest.mark.parametrize("view", [SkyView(180.0, 0.0, MOLLWEIDE_DEG, 4), SkyView(0.5, 20.0, 8.0, 6)])
def test_cells_lie_where_their_centres_are_and_east_is_left(view):
    x, y = view.wcs().world_to_pixel_values(view.ra + 5.0, view.dec + 3.0)
    height, width = view.size
    assert x < width / 2
    assert y > height / 2
    cells = cells_of(np.array([view.ra + 5.0, view.ra - 5.0]), np.array([view.dec + 3.0] * 2), view.order)
    ordered = np.sort(cells)
    image = raster(view, ordered, ordered.astype(np.float64))
    for cell in cells.tolist():
        px, py = view.wcs().world_to_pixel_values(*centres_of(np.array([cell]), view.order))
        assert image[round(float(py[0])), round(float(px[0]))] == cell
    assert np.isnan(image).mean() > 0.9
