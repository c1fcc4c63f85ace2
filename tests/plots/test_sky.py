"""Maps show every cell where it lies, east on the left."""

from __future__ import annotations

import cdshealpix.nested
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.visualization.wcsaxes import WCSAxes
from astropy.wcs import WCS
from matplotlib.figure import Figure

from tests.copies import patch_table, sky_table
from tests.plots.looking import value_at
from xmatch_hats.errors import UsageError
from xmatch_hats.healpix import cells_of, centres_of
from xmatch_hats.plots.sky import (
    MOLLWEIDE_DEG,
    SkyView,
    add_map,
    from_plane,
    order_of_counts,
    paint_cells,
    sky_axes,
    to_plane,
    trace,
    view_of_counts,
)
from xmatch_hats.plots.tallies import CellCounts


def counted(table):
    sky = CellCounts(3)
    sky.add(cells_of(table["ra"], table["dec"]), np.zeros(table.num_rows, np.int64))
    return sky


def map_of(view):
    return add_map(Figure(), view)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (120.0, 60.0), (0.0, 90.0), (200.0, -89.5)])
def test_a_region_is_shown_whole(ra, dec):
    sky = counted(patch_table(20_000, ra, dec, 1.0))
    view = view_of_counts(sky)
    assert not view.is_whole_sky
    assert 1.0 < view.half_width_deg < 1.3
    assert view.dec == pytest.approx(dec, abs=0.02)
    order = order_of_counts(sky, view)
    cells, counts = sky.at(order)
    image = paint_cells(map_of(view), cells, order, np.arange(len(cells), dtype=np.float64)).get_array()
    # Every cell is there.
    assert set(image.compressed().astype(int)) == set(range(len(cells)))
    assert np.median(counts[0]) >= 20


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ([359.9, 0.1, 359.95, 0.05], [0.0, 0.1, -0.1, 0.0]),
        ([10.0, 130.0, 250.0], [89.8, 89.7, 89.9]),
        ([40.0, 43.0, 41.0, 42.0, 40.5], [60.0, 60.5, 61.2, 59.9, 60.7]),
    ],
    ids=["zero", "pole", "north"],
)
def test_no_cell_is_cut_at_the_frame(ra, dec):
    sky = CellCounts(3)
    sky.add(cells_of(np.array(ra), np.array(dec)), np.zeros(len(ra), np.int64))
    view = view_of_counts(sky)
    order = order_of_counts(sky, view)
    assert order < sky.order
    lon, lat = cdshealpix.nested.vertices(sky.at(order)[0].astype(np.uint64), order)
    x, y = to_plane(map_of(view), np.asarray(lon.deg), np.asarray(lat.deg))
    assert x.min() > 0.0
    assert y.min() > 0.0
    assert max(x.max(), y.max()) < view.size[0] - 1


def test_the_whole_sky():
    sky = counted(sky_table(20_000))
    view = view_of_counts(sky)
    assert view.is_whole_sky
    order = order_of_counts(sky, view)
    cells, _ = sky.at(order)
    image = paint_cells(map_of(view), cells, order, np.ones(len(cells))).get_array()
    # An ellipse in a box that holds it.
    assert 1.0 - np.ma.getmaskarray(image).mean() == pytest.approx(np.pi / 4, abs=0.005)


def test_few_inputs_of_the_whole_sky_have_large_cells_but_not_too_large():
    for number, order in ((30, 2), (200_000, 4)):
        sky = counted(sky_table(number))
        assert order_of_counts(sky, view_of_counts(sky)) == pytest.approx(order, abs=0 if number == 30 else 2)


def test_of_nothing_the_whole_sky_is_shown():
    assert view_of_counts(CellCounts(1)).is_whole_sky
    assert (
        paint_cells(map_of(view_of_counts(CellCounts(1))), np.empty(0, np.int64), 3, np.empty(0)).get_array().mask.all()
    )


@pytest.mark.parametrize("view", [SkyView(180.0, 0.0, MOLLWEIDE_DEG), SkyView(0.5, 20.0, 8.0)])
@pytest.mark.parametrize("plain", [False, True])
def test_cells_lie_where_their_centres_are_and_east_is_left(view, plain):
    axes = sky_axes(Figure().add_subplot(), view) if plain else map_of(view)
    order = 5
    places = np.array([view.ra + 5.0, view.ra - 5.0]), np.array([view.dec + 3.0] * 2)
    cells = np.sort(cells_of(*places, order))
    picture = paint_cells(axes, cells, order, cells.astype(np.float64))
    for cell in cells.tolist():
        assert value_at(axes, picture, *(float(one[0]) for one in centres_of(np.array([cell]), order))) == cell
    assert np.ma.getmaskarray(picture.get_array()).mean() > 0.9
    east, west = (
        axes.transData.transform(np.transpose(to_plane(axes, places[0][i : i + 1], places[1][:1]))) for i in (0, 1)
    )
    assert east[0, 0] < west[0, 0]


@pytest.mark.parametrize("view", [SkyView(180.0, 0.0, MOLLWEIDE_DEG), SkyView(0.0, 90.0, 8.0), SkyView(0.5, 20.0, 8.0)])
@pytest.mark.parametrize("plain", [False, True])
def test_there_and_back(view, plain):
    axes = sky_axes(Figure().add_subplot(), view) if plain else map_of(view)
    table = patch_table(200, view.ra, view.dec, 5.0)
    ra, dec = from_plane(axes, *to_plane(axes, table["ra"].to_numpy(), table["dec"].to_numpy()))
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(table["ra"], table["dec"], unit="deg"))
    assert apart.arcsec.max() < 1e-3


def test_lines_are_broken_at_the_edge_of_the_sky():
    axes = map_of(SkyView(180.0, 0.0, MOLLWEIDE_DEG))
    drawn = trace(axes, np.array([[358.0, 359.0, 1.0, 2.0]]), np.zeros((1, 4)))
    x = np.array(drawn.get_segments())[:, :, 0]
    # At RA 0 the sky is cut: one stroke on the left, one on the right.
    assert len(x) == 2
    assert np.abs(np.diff(x)).max() < 5
    assert np.abs(x[0, 0] - x[1, 0]) > 1_400


def test_an_own_map_in_another_frame_keeps_its_view():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = (
        ["GLON-TAN", "GLAT-TAN"],
        [30, 60],
        [-0.1, 0.1],
        [50, 50],
    )
    axes = Figure().add_subplot(projection=wcs)
    axes.set(xlim=(-0.5, 99.5), ylim=(-0.5, 99.5))
    assert sky_axes(axes, SkyView(0.0, 0.0, 1.0)) is axes
    centre = SkyCoord(30, 60, unit="deg", frame="galactic").icrs
    cell = cells_of([centre.ra.deg], [centre.dec.deg], 5)
    picture = paint_cells(axes, cell, 5, np.array([7.0]))
    assert value_at(axes, picture, centre.ra.deg, centre.dec.deg) == 7.0
    assert axes.get_xlim() == (-0.5, 99.5)


def test_plain_axes_show_degrees():
    axes = sky_axes(Figure().add_subplot(), SkyView(0.5, 60.0, 2.0))
    assert not isinstance(axes, WCSAxes)
    assert axes.get_xlim() == pytest.approx((4.5, -3.5))
    assert axes.get_aspect() == pytest.approx(2.0)
    assert axes.xaxis.get_major_formatter()(-1.0, None) == "359"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Right ascension (deg)", "Declination (deg)")


def test_plain_axes_with_something_on_them_are_turned_only():
    axes = Figure().add_subplot()
    axes.plot([10.0, 12.0], [1.0, 2.0])
    limits = axes.get_xlim()
    assert sky_axes(axes, SkyView(0.5, 60.0, 2.0)).get_xlim() == limits[::-1]


@pytest.mark.parametrize("projection", ["mollweide", "polar"])
def test_other_axes_are_refused(projection):
    with pytest.raises(UsageError, match=f"projection '{projection}'"):
        sky_axes(Figure().add_subplot(projection=projection), SkyView(0.0, 0.0, 1.0))


def test_what_is_no_axes_is_refused():
    with pytest.raises(UsageError, match="ax must be Matplotlib axes, not a Figure"):
        sky_axes(Figure(), SkyView(0.0, 0.0, 1.0))
