"""Densities and fractions are those of the rows, cell by cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy.table import QTable
from matplotlib import pyplot

from tests.copies import make_copy, patch_table, sky_table
from tests.plots.looking import labels, value_at
from xmatch_hats import plots
from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.matching.crossmatcher import Crossmatcher


def image_of(axes):
    (picture,) = axes.get_images()
    return picture


def test_a_density_counts_the_covered_part_of_cells_at_the_border(zero):
    values = image_of(plots.density(zero)).get_array().compressed()
    assert np.median(values) == pytest.approx(8000 / np.pi, rel=0.05)
    # Poisson: half of the cells hold 20 rows at least.
    assert np.percentile(values, 5) > 8000 / np.pi * 0.5


def test_copies_lsdb_catalogues_and_tables_agree(zero):
    axes = plots.density(zero)
    lazy = plots.density(zero.open_lsdb())
    table = plots.density(patch_table(8000, 0.0, 0.0, 1.0, seed=2))
    inner = [(ra, dec) for ra in (359.6, 0.01, 0.3) for dec in (-0.4, 0.02, 0.35)]
    for ra, dec in inner:
        expected = value_at(axes, image_of(axes), ra, dec)
        assert value_at(lazy, image_of(lazy), ra, dec) == pytest.approx(expected)
        assert value_at(table, image_of(table), ra, dec) == pytest.approx(expected)
    assert (axes.get_title(), lazy.get_title(), table.get_title()) == ("Density of zero", "Density of zero", "Density")
    assert axes.figure.axes[-1].get_ylabel() == "Rows per square degree"


def test_only_what_is_left_of_a_narrowed_catalogue_is_counted(zero):
    axes = plots.density(zero.open_lsdb().query("dec > 0.0"))
    assert not np.ma.is_masked(value_at(axes, image_of(axes), 0.0, 0.4))
    assert np.ma.is_masked(value_at(axes, image_of(axes), 0.0, -0.4))


def test_an_occupancy_map_is_taken(tmp_path):
    from hats.io.skymap import write_skymap

    copy = make_copy(sky_table(3000), tmp_path / "sky", coverage="all-sky")
    by_rows = image_of(plots.density(copy)).get_array()
    image = np.zeros(12 << 18, np.int64)
    for index in copy.read_healpix():
        np.add.at(image, index >> 40, 1)
    write_skymap(image, copy.main_path)
    assert np.ma.allclose(image_of(plots.density(copy)).get_array(), by_rows)


def test_the_density_of_a_pole(pole):
    axes = plots.density(pole)
    assert value_at(axes, image_of(axes), 77.0, 89.99) == pytest.approx(4000 / (np.pi * 4), rel=0.6)
    assert {"0°", "90°", "180°", "270°"} <= {text.get_text() for text in axes.texts}


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_rows(rows):
    table = pd.DataFrame({"ra": [12.0], "dec": [-3.0]}).iloc[:rows]
    axes = plots.density(table)
    assert image_of(axes).get_array().count() == 0 if rows == 0 else value_at(axes, image_of(axes), 12.0, -3.0) > 0
    axes.figure.canvas.draw()


def test_rows_without_a_position_do_not_count():
    table = patch_table(500, 10.0, 20.0, 1.0).to_pandas()
    spoilt = pd.concat([table, pd.DataFrame({"ra": [np.nan, 10.0, 1e9], "dec": [1.0, 99.0, 5.0]})])
    assert np.ma.allequal(*(image_of(plots.density(one)).get_array() for one in (table, spoilt)))


def test_what_cannot_be_counted():
    with pytest.raises(UsageError, match="the rows of a float cannot be counted"):
        plots.density(1.5)


def test_a_fraction_is_that_of_what_was_searched(result):
    axes = plots.match_fraction(result)
    values = image_of(axes).get_array()
    searched = result["_status"].isin(["matched", "unmatched"])
    expected = (result["_status"] == "matched").sum() / searched.sum()
    assert values.mean() == pytest.approx(expected, abs=0.05)
    assert axes.get_title() == "Fraction of inputs with a match in zero"
    assert axes.figure.axes[-1].get_ylabel() == "matched / (matched + unmatched)"


def test_pairs_of_one_input_count_once(result, everything):
    assert len(everything) > len(result)
    pictures = [image_of(plots.match_fraction(one)).get_array() for one in (result, everything)]
    assert np.ma.allclose(*pictures)


def test_a_match_result_needs_its_positions(zero, inputs, result):
    with Crossmatcher([zero.path]) as matcher:
        (answer,) = matcher.match(inputs["ra"], inputs["dec"]).values()
    with pytest.raises(TableError, match=r"where on the sky the inputs lie is not known .*positions="):
        plots.match_fraction(answer)
    given = plots.match_fraction(answer, positions=(inputs["ra"], inputs["dec"]))
    answer_5, whole = (image_of(plots.match_fraction(one)).get_array() for one in (result, result))
    assert image_of(given).get_array().shape == answer_5.shape == whole.shape
    with pytest.raises(TableError, match="a MatchResult holds no columns of the inputs"):
        plots.match_fraction(answer, by="mag")
    with pytest.raises(UsageError, match="2000 positions are needed, not 1 and 1"):
        plots.match_fraction(answer, positions=([1.0], [2.0]))


def test_a_fraction_along_a_column(result):
    axes = plots.match_fraction(result, by="mag")
    (points,) = axes.containers
    x, y = points.lines[0].get_data()
    assert (y[x < 17.5] == 1.0).all()
    assert (y[x > 18.5] < 0.1).all()
    assert len(x) > 5
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("mag", "matched / (matched + unmatched)")
    searched = result["_status"].isin(["matched", "unmatched"]).sum()
    assert labels(axes) == [f"{searched:,} inputs"]


def test_the_column_has_its_unit(result):
    table = QTable.from_pandas(result)
    table["mag"].unit = "mag"
    assert plots.match_fraction(table, by="mag").get_xlabel() == "mag (mag)"


def test_one_value_and_none(result):
    for rows in (0, 1):
        axes = plots.match_fraction(result.iloc[:rows], by="mag")
        assert len(axes.containers) == rows
        plots.match_fraction(result.iloc[:rows]).figure.canvas.draw()


def test_missing_columns_are_named(result):
    with pytest.raises(TableError, match=r"the result has no column 'magpsf' \(near names: mag"):
        plots.match_fraction(result, by="magpsf")
    with pytest.raises(TableError, match="has no column _dist_arcsec"):
        plots.match_fraction(result[["ra", "dec"]])


def test_a_fraction_on_given_axes(result):
    _, (left, right) = pyplot.subplots(1, 2)
    assert plots.match_fraction(result, ax=left) is left
    assert plots.match_fraction(result, by="mag", ax=right) is right
    assert left.xaxis_inverted()


def test_where_everything_matches_the_colours_reach_from_nothing(result):
    axes = plots.match_fraction(result[result["_status"] == "matched"])
    assert image_of(axes).get_clim() == (0.0, 1.0)
