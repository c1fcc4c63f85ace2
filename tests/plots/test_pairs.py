"""Histograms hold every pair, curves are what chance gives, clouds lie on the right side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.table import QTable, Table
from matplotlib import pyplot

from tests.copies import patch_table
from tests.plots.conftest import OFFSET
from tests.plots.looking import labels, value_in
from xmatch_hats import plots
from xmatch_hats.errors import RadiusError, TableError, UsageError
from xmatch_hats.matching.api import crossmatch
from xmatch_hats.matching.crossmatcher import Crossmatcher

DENSITY = 8000 / np.pi
"""Of the catalogue, per square degree."""


def histogram_of(axes):
    """Counts and edges of what is drawn."""
    data = axes.patches[0].get_data()
    return data.values, data.edges


def curve_of(axes):
    return next(line for line in axes.lines if line.get_label().startswith("expected")).get_ydata()


def cloud_of(axes):
    return np.asarray(axes.collections[0].get_offsets())


def test_every_pair_is_counted_once(everything):
    counts, edges = histogram_of(plots.separations(everything, 5.0, bins=25))
    expected, _ = np.histogram(everything["_dist_arcsec"].dropna(), 25, (0.0, 5.0))
    assert (counts == expected).all()
    assert edges[-1] == 5.0


def test_units_labels_and_legend(result):
    axes = plots.separations(result, 5.0, DENSITY)
    assert axes.get_xlabel() == "Separation (arcsec)"
    assert axes.get_ylabel().startswith("Pairs per 0.")
    assert axes.get_title() == "Separation of matches with zero"
    assert axes.get_yscale() == "log"
    found, median, chance = labels(axes)
    assert found == f"found: {result['_dist_arcsec'].notna().sum():,}"
    assert median.startswith("median 0.36")
    assert chance.startswith("expected by chance: ")


def test_the_curve_of_all_pairs_is_the_formula(everything):
    axes = plots.separations(everything, 5.0, DENSITY, bins=50)
    searched = everything.drop_duplicates(["ra", "dec"])["_status"].isin(["matched", "unmatched"]).sum()
    centres = np.arange(50) / 10 + 0.05
    assert np.allclose(curve_of(axes), searched * 2 * np.pi * DENSITY / 3600**2 * centres * 0.1, rtol=2e-3)


def test_the_curve_of_the_nearest_is_less_where_it_is_dense(result):
    dense = 1e6
    curve = curve_of(plots.separations(result, 5.0, dense, bins=50))
    searched = result["_status"].isin(["matched", "unmatched"]).sum()
    within = searched * -np.expm1(-np.pi * dense / 3600**2 * np.linspace(0.0, 5.0, 51) ** 2)
    assert np.allclose(curve, np.diff(within), rtol=2e-3)
    assert np.allclose(curve_of(plots.separations(result, 5.0, dense, bins=50, n_neighbors=None)).sum(),
                       searched * np.pi * dense / 3600**2 * 25.0, rtol=2e-3)  # fmt: skip


def test_a_catalogue_gives_its_own_density(zero, everything):
    """Positions without a counterpart find what the curve says: in the middle, where the field is even."""
    given = curve_of(plots.separations(everything, 5.0, DENSITY)).sum()
    for catalog in (zero, zero.path, zero.open_lsdb()):
        assert curve_of(plots.separations(everything, 5.0, catalog)).sum() == pytest.approx(given, rel=0.1)
    away = everything[everything["mag"] >= 18.0]
    counts, _ = histogram_of(plots.separations(away, 5.0, zero))
    curve = curve_of(plots.separations(away, 5.0, zero)).sum()
    assert counts.sum() == pytest.approx(curve, abs=5 * np.sqrt(curve))


@pytest.mark.parametrize(
    ("radius", "density"),
    [
        (5.0 * u.arcsec, DENSITY / u.deg**2),
        (5.0 / 60.0 * u.arcmin, DENSITY / 3600.0**2 / u.arcsec**2),
        (5.0, DENSITY * (180 / np.pi) ** 2 / u.sr),
    ],
)
def test_quantities_mean_what_they_say(everything, radius, density):
    bare, units = (plots.separations(everything, *given) for given in ((5.0, DENSITY), (radius, density)))
    assert (histogram_of(bare)[0] == histogram_of(units)[0]).all()
    assert np.allclose(curve_of(bare), curve_of(units))


def test_tables_of_all_kinds_and_mere_separations(zero, inputs, result):
    apart = result["_dist_arcsec"].to_numpy(dtype=float, na_value=np.nan)
    expected, _ = histogram_of(plots.separations(result, 5.0))
    quantities = QTable({"ra": inputs["ra"].to_numpy() * u.deg, "dec": inputs["dec"].to_numpy() * u.deg})
    answers = [
        crossmatch(quantities, zero, 5.0 * u.arcsec),
        crossmatch(Table(quantities), zero, 5.0),
        crossmatch(pa.Table.from_pandas(inputs), zero, 5.0),
        apart,
        np.ma.masked_invalid(apart),
        apart / 60.0 * u.arcmin,
        result["_dist_arcsec"],
        [*apart],
    ]
    with Crossmatcher([zero.path]) as matcher:
        assert plots.separations(matcher.match(inputs["ra"], inputs["dec"])["zero"])
    for answer in answers:
        counts, _ = histogram_of(plots.separations(answer, 5.0))
        assert (counts == expected).all(), type(answer)


def test_results_of_lsdb(zero, inputs, result):
    import lsdb

    left = lsdb.from_dataframe(inputs, margin_threshold=None)
    lazy = crossmatch(left, zero, 5.0)
    expected, _ = histogram_of(plots.separations(result, 5.0))
    assert (histogram_of(plots.separations(lazy, 5.0))[0] == expected).all()
    plain = left.crossmatch(zero.open_lsdb(), radius_arcsec=5.0, suffix_method="overlapping_columns")
    assert (histogram_of(plots.separations(plain, 5.0))[0] == expected).all()
    assert len(cloud_of(plots.offsets(plain))) == expected.sum()


def test_a_match_result_knows_how_many_were_searched(zero, inputs):
    with Crossmatcher([zero.path]) as matcher:
        answer = matcher.match(inputs["ra"], inputs["dec"])["zero"]
    curve = curve_of(plots.separations(answer, 1.0, DENSITY))
    tried = np.isin(answer.status, (0, 1)).sum()
    assert curve.sum() == pytest.approx(tried * -np.expm1(-np.pi * DENSITY / 3600**2), rel=2e-3)


def test_how_many_were_searched_must_be_known():
    with pytest.raises(UsageError, match=r"how many inputs were searched is not known.*searched="):
        plots.separations([0.1, 0.2], 1.0, DENSITY)
    curve = curve_of(plots.separations([0.1, 0.2], 1.0, DENSITY, searched=1000))
    assert curve.sum() == pytest.approx(1000 * np.pi * DENSITY / 3600**2, rel=2e-3)


def test_a_curve_of_matched_inputs_alone_says_so(result):
    matched = result[result["_status"] == "matched"]
    told = [labels(plots.separations(one, 5.0, DENSITY))[-1] for one in (result, matched)]
    assert "alone" not in told[0]
    assert told[1].endswith(f",\nof {len(matched):,} matched inputs alone")
    searched = np.isin(result["_status"], ("matched", "unmatched")).sum()
    assert labels(plots.separations(matched, 5.0, DENSITY, searched=searched))[-1] == told[0]


def test_a_local_density_needs_positions(zero):
    with pytest.raises(TableError, match="a local density needs the positions of the inputs"):
        plots.separations([0.1, 0.2], 1.0, zero, searched=1000)


@pytest.mark.parametrize("apart", [[], [np.nan], [0.5], [0.0]])
def test_hardly_anything(apart):
    axes = plots.separations(np.array(apart), density=100.0, searched=10)
    assert histogram_of(axes)[0].sum() == np.isfinite(apart).sum()
    axes.figure.canvas.draw()


def test_one_row_and_none(result, zero):
    for rows in (result.iloc[:0], result.iloc[:1], result[result["_status"] == "unmatched"].iloc[:1]):
        plots.separations(rows, 5.0, zero).figure.canvas.draw()
        plots.offsets(rows).figure.canvas.draw()


@pytest.mark.parametrize("radius", [0.0, -1.0, np.nan, [1.0, 2.0], 3.0 * u.s, "wide"])
def test_radii_that_are_none(result, radius):
    with pytest.raises((RadiusError, UsageError), match="a radius must be"):
        plots.separations(result, radius)


@pytest.mark.parametrize("density", [-1.0, np.nan, 3.0 * u.s, "nowhere", {}])
def test_densities_that_are_none(result, density):
    from xmatch_hats.errors import XmatchError

    with pytest.raises(XmatchError):
        plots.separations(result, 5.0, density)


def test_the_cloud_lies_where_the_catalogue_is_from_the_input(result):
    bright = result[result["mag"] < 18.0]
    axes = plots.offsets(bright, 1.0)
    cloud = cloud_of(axes)
    assert len(cloud) == len(bright) == 500
    assert np.allclose(np.median(cloud, axis=0), OFFSET, atol=1e-4)
    assert labels(axes) == ["median +0.300, -0.200 arcsec"]
    # East is on the left.
    assert axes.xaxis_inverted()
    assert not axes.yaxis_inverted()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ΔRA cos(Dec) (arcsec)", "ΔDec (arcsec)")
    assert axes.get_aspect() == 1.0
    (circle,) = axes.patches
    assert circle.radius == 1.0


def test_many_points_become_a_picture():
    rng = np.random.default_rng(5)
    number = 5000
    table = pd.DataFrame({"ra": np.full(number, 359.9999), "dec": np.full(number, 10.0)})
    table["ra_stars"] = (table["ra"] + rng.normal(0.5, 0.1, number) / 3600 / np.cos(np.radians(10))) % 360
    table["dec_stars"] = table["dec"] + rng.normal(0.0, 0.1, number) / 3600
    table["_dist_arcsec"] = 0.5
    axes = plots.offsets(table, 1.0)
    (picture,) = axes.get_images()
    assert picture.get_array().sum() == number
    assert value_in(picture, 0.5, 0.0) > 10
    assert np.ma.is_masked(value_in(picture, -0.5, 0.0))
    left, _ = axes.transData.transform((0.5, 0.0))
    right, _ = axes.transData.transform((-0.5, 0.0))
    assert left < right
    assert axes.get_title() == "Offsets of matches with stars"


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 90.0), (0.0, -89.9999), (359.99999, 0.0)])
def test_clouds_at_poles_and_ra_0(ra, dec):
    """Offsets have the length of the separation everywhere."""
    here = patch_table(200, ra, dec, 1e-3, seed=1).to_pandas()
    there = patch_table(200, ra, dec, 1e-3, seed=2).to_pandas()
    table = here.assign(ra_b=there["ra"], dec_b=there["dec"])
    from xmatch_hats.sphere import separation_arcsec, unit_vectors

    table["_dist_arcsec"] = separation_arcsec(unit_vectors(here.ra, here.dec), unit_vectors(there.ra, there.dec))
    cloud = cloud_of(plots.offsets(table))
    assert np.allclose(np.hypot(*cloud.T), table["_dist_arcsec"], rtol=1e-6)


def test_which_columns_are_meant(zero, inputs):
    named = inputs.rename(columns={"ra": "RAJ2000", "dec": "DEJ2000"})
    answer = crossmatch(named, zero, 1.0)
    assert {"ra", "dec", "RAJ2000"} <= set(answer.columns)
    assert np.allclose(np.median(cloud_of(plots.offsets(answer)), axis=0), OFFSET, atol=1e-3)
    swapped = plots.offsets(answer, left=("ra", "dec"), right=("RAJ2000", "DEJ2000"))
    assert np.allclose(np.median(cloud_of(swapped), axis=0), [-value for value in OFFSET], atol=1e-3)
    with pytest.raises(TableError, match=r"which columns hold the position in the catalogue is not known .*right="):
        plots.offsets(answer.drop(columns=["ra", "dec"]))
    with pytest.raises(TableError, match="no column 'ra_b'"):
        plots.offsets(answer, right=("ra_b", "dec_b"))


def test_of_several_catalogues_one_is_chosen(zero, inputs):
    first = crossmatch(inputs, zero, 1.0, name="one", columns=["ra", "dec"])
    both = crossmatch(first, zero, 3.0, name="two", columns=["ra", "dec"])
    assert {"_dist_arcsec", "_dist_arcsec_two"} <= set(both.columns)
    with pytest.raises(UsageError, match=r"several catalogues \(give catalog="):
        plots.separations(both)
    assert histogram_of(plots.separations(both, 5.0, catalog="two"))[0].sum() == both["_dist_arcsec_two"].notna().sum()
    axes = plots.offsets(both, catalog="two")
    assert axes.get_title() == "Offsets of matches with two"
    assert len(cloud_of(axes)) == both["_dist_arcsec_two"].notna().sum()


def test_given_axes_are_drawn_on_and_keep_their_title(result):
    _, (left, right) = pyplot.subplots(1, 2)
    left.set_title("mine")
    assert plots.separations(result, ax=left) is left
    assert left.get_title() == "mine"
    assert plots.offsets(result, ax=right) is right
    with pytest.raises(UsageError, match="projection 'polar'"):
        plots.offsets(result, ax=pyplot.figure().add_subplot(projection="polar"))


@pytest.mark.parametrize("answer", [{}, 5, "text"])
def test_what_is_no_match(answer):
    with pytest.raises(UsageError):
        plots.offsets(answer)


def test_a_table_without_separations():
    with pytest.raises(TableError, match="has no column _dist_arcsec"):
        plots.separations(pd.DataFrame({"ra": [1.0], "dec": [2.0]}))
