"""Partitions, coverage and cones lie where they are, whatever holds the catalogue."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.visualization.wcsaxes import WCSAxes
from matplotlib import pyplot
from mocpy import MOC

from tests.copies import patch_table
from tests.plots.looking import labels, value_at, values_at
from xmatch_hats import plots
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.errors import CatalogNotFoundError, UsageError
from xmatch_hats.healpix import cells_of
from xmatch_hats.plots.sky import to_plane


def image_of(axes):
    (picture,) = axes.get_images()
    return picture


@pytest.mark.parametrize("name", ["pole", "zero"])
@pytest.mark.parametrize("plain", [False, True])
def test_every_position_has_the_order_of_its_partition(name, plain, request):
    copy = request.getfixturevalue(name)
    axes = plots.partitions(copy, ax=pyplot.figure().add_subplot() if plain else None)
    assert isinstance(axes, WCSAxes) is not plain
    rows = copy.open_lsdb().compute(progress_bar=False)
    shown = values_at(axes, image_of(axes), rows["ra"], rows["dec"])
    orders = np.zeros(len(rows), int)
    for order, pixel in copy.partitions:
        orders[cells_of(rows["ra"], rows["dec"], order) == pixel] = order
    # But for pixels of the picture that a border runs through.
    assert (shown == orders).mean() > 0.97
    reach = 2.5 if name == "zero" else 3.0
    around = patch_table(5000, 0.0, 0.0 if name == "zero" else 90.0, reach, seed=9)
    inside = np.zeros(5000, bool)
    for order, pixel in copy.partitions:
        inside |= cells_of(around["ra"], around["dec"], order) == pixel
    missing = np.ma.getmaskarray(values_at(axes, image_of(axes), around["ra"], around["dec"]))
    assert 0.1 < inside.mean() < 0.9
    assert (missing != inside).mean() > 0.97


def test_borders_are_those_of_the_cells(zero):
    axes = plots.partitions(zero)
    lines = np.concatenate([drawn.get_segments() for drawn in axes.collections])
    order, pixel = zero.partitions[0]
    import cdshealpix.nested

    lon, lat = cdshealpix.nested.vertices(np.array([pixel], np.uint64), order)
    x, y = to_plane(axes, lon.deg.ravel(), lat.deg.ravel())
    for corner in np.transpose((x, y)):
        assert np.linalg.norm(lines.reshape(-1, 2) - corner, axis=1).min() < 1e-6


def test_right_ascension_increases_to_the_left(zero):
    for axes in (plots.partitions(zero), plots.partitions(zero, ax=pyplot.figure().add_subplot())):
        x, y = to_plane(axes, np.array([0.5, 359.5, 0.0]), np.array([0.0, 0.0, 0.5]))
        places = axes.transData.transform(np.transpose((x, y)))
        assert places[0, 0] < places[1, 0]
        assert places[2, 1] > places[0, 1]


def test_lsdb_and_hats_catalogues_and_names_give_the_same(zero):
    lazy = zero.open_lsdb()
    pictures = [image_of(plots.partitions(one)) for one in (zero, zero.path, str(zero.path), lazy, lazy.hc_structure)]
    for picture in pictures[1:]:
        assert np.ma.allequal(picture.get_array(), pictures[0].get_array())
        assert (picture.get_array().mask == pictures[0].get_array().mask).all()


def test_what_is_left_of_a_narrowed_catalogue(zero):
    lazy = zero.open_lsdb()
    narrow = lazy.cone_search(0.5, 0.5, 60.0)
    assert len(narrow.get_healpix_pixels()) == 1 < len(zero.partitions)
    axes = plots.partitions(narrow)
    assert axes.get_title() == f"zero: 1 partition of order {narrow.get_healpix_pixels()[0].order}"
    covered = image_of(plots.coverage(narrow))
    assert covered.get_array().count() > 0


def test_titles_and_labels(zero, pole):
    axes = plots.partitions(zero)
    assert axes.get_title().startswith(f"zero: {len(zero.partitions)} partitions")
    assert axes.coords[0].get_axislabel() == "Right ascension (deg)"
    assert axes.coords[1].get_axislabel() == "Declination (deg)"
    if len({order for order, _ in pole.partitions}) > 1:
        bar = plots.partitions(pole).figure.axes[-1]
        assert bar.get_ylabel() == "HEALPix order of the partition"
    assert plots.coverage(zero).get_title() == "zero: coverage of 3.13 deg² (0.0076 % of the sky)"


@pytest.mark.parametrize("name", ["pole", "zero"])
def test_coverage_is_inside_and_nowhere_else(name, request):
    copy = request.getfixturevalue(name)
    centre = SkyCoord(0.0, 90.0 if name == "pole" else 0.0, unit="deg")
    radius = 2.0 if name == "pole" else 1.0
    for subject in (copy, copy.coverage, copy.coverage.moc, copy.open_lsdb()):
        axes = plots.coverage(subject)
        for angle in range(0, 360, 30):
            for share, inside in ((0.95, True), (1.05, False)):
                there = centre.directional_offset_by(angle * u.deg, share * radius * u.deg)
                value = value_at(axes, image_of(axes), there.ra.deg, there.dec.deg)
                assert np.ma.is_masked(value) is not inside


def test_coverage_over_partitions_keeps_their_title_and_gets_a_label(zero):
    axes = plots.partitions(zero)
    title, limits = axes.get_title(), (axes.get_xlim(), axes.get_ylim())
    assert plots.coverage(zero, ax=axes, color="#D55E00", label="complete") is axes
    axes.legend()
    assert labels(axes) == ["complete"]
    assert axes.get_title() == title
    assert (axes.get_xlim(), axes.get_ylim()) == limits
    assert len(axes.get_images()) == 2


def test_a_title_stays_on_the_figure(zero):
    figure, panels = pyplot.subplots(1, 3, figsize=(9.0, 3.0))
    axes = plots.coverage(zero, ax=panels[0])
    figure.canvas.draw()
    assert axes.title.get_window_extent().x0 >= 0.0
    assert axes.title.get_window_extent().x1 <= panels[1].get_window_extent().x0


def test_the_whole_sky_and_none_of_it():
    whole = plots.coverage(Coverage.all_sky())
    assert whole.get_title() == "coverage of 41,253 deg² (the whole sky)"
    assert not np.ma.is_masked(value_at(whole, image_of(whole), 0.5, -60.0))
    none = plots.coverage(MOC.new_empty(5))
    assert none.get_title() == "coverage of 0 deg² (0 % of the sky)"
    assert image_of(none).get_array().mask.all()


def test_an_estimated_coverage_says_so(zero):
    estimate = Coverage.from_rows(zero.read_healpix())
    assert plots.coverage(estimate).get_title().endswith("% of the sky, estimated)")


@pytest.mark.parametrize("dec", [0.0, 89.99, -60.0])
def test_cones_are_circles_on_the_sphere(dec):
    axes = plots.cones(359.999, dec, 3600.0)
    ends = np.concatenate(axes.collections[0].get_segments())
    there = axes.wcs.pixel_to_world(*ends.T)
    assert np.allclose(there.separation(SkyCoord(359.999, dec, unit="deg")).arcsec, 3600.0, atol=1e-3)
    assert len(ends) == 256


def test_cones_take_quantities_and_names():
    bare = plots.cones([10.0, 20.0], [5.0, 6.0], 1800.0, names=["one", "two"])
    units = plots.cones([10.0, 20.0] * u.deg, [300, 360] * u.arcmin, 0.5 * u.deg, names=pd.Index(["one", "two"]))
    for one, other in zip(bare.collections[0].get_segments(), units.collections[0].get_segments(), strict=True):
        assert np.allclose(one, other)
    for axes in (bare, units):
        assert [text.get_text() for text in axes.texts] == ["one", "two"]
    x, y = to_plane(bare, np.array([10.0, 20.0]), np.array([5.0, 6.0]))
    assert np.allclose(bare.collections[1].get_offsets(), np.transpose((x, y)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([10.0], [95.0], 1.0), "cones need centres on the sphere and radii above 0"),
        (([10.0], [9.0], 0.0), "cones need centres on the sphere and radii above 0"),
        (([10.0], [9.0], 3.0 * u.s), "a radius must be an angle or a number of arcseconds"),
    ],
)
def test_cones_that_cannot_be(arguments, message):
    with pytest.raises(UsageError, match=message):
        plots.cones(*arguments)


def test_as_many_names_as_cones():
    with pytest.raises(UsageError, match="2 cones have 1 names"):
        plots.cones([1.0, 2.0], [1.0, 2.0], 1.0, names=["one"])


def test_what_is_no_catalogue(tmp_path):
    with pytest.raises(UsageError, match="a dict has no partitions"):
        plots.partitions({})
    with pytest.raises(UsageError, match=r"a int covers no part of the sky .*give a MOC"):
        plots.coverage(5)
    with pytest.raises(CatalogNotFoundError):
        plots.partitions(tmp_path / "nothing")
