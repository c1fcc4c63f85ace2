from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests.copies import make_copy, patch_table
from xmatch_hats.catalogs.definition import load_definition
from xmatch_hats.errors import CatalogError, UsageError
from xmatch_hats.images.star_choice import StarChoice
from xmatch_hats.matching.search import Cone, cone_rows


@pytest.fixture(scope="module")
def gaia(tmp_path_factory):
    """A copy of a table of Gaia's, as its archive has it."""
    table = patch_table(200, 10.0, 20.0, 0.2)
    bp = [None if number % 10 == 0 else 15.0 for number in range(200)]
    columns = {
        "designation": pa.array([f"Gaia DR3 {number}" for number in range(200)]),
        "phot_g_mean_mag": pa.array(np.linspace(10.0, 20.0, 200), pa.float32()),
        "phot_bp_mean_mag": pa.array(bp, pa.float32()),
        "phot_rp_mean_mag": pa.array([13.0] * 200, pa.float32()),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    return make_copy(table, tmp_path_factory.mktemp("gaia") / "gaia", coverage="all-sky")


def all_rows(choice):
    return choice.stars_of(cone_rows(choice.copy, Cone(10.0, 20.0, 3600.0), choice.columns))


def test_the_preset_of_gaia(gaia):
    assert gaia.definition.name == "gaia_dr3"
    stars = all_rows(StarChoice.of(gaia))
    assert len(stars) == 200
    assert np.isnan(stars.magnitudes[:, 0]).all()
    assert np.isnan(stars.magnitudes[:, 1]).sum() == 20
    assert (stars.clas == 0).all()
    bright = all_rows(StarChoice.of(gaia, faint=14.0))
    assert 0 < len(bright) < 200
    assert (bright.brightness <= 14.0).all()


def test_a_copy_of_before_the_preset_takes_the_shipped_one(gaia):
    older = replace(gaia, definition=gaia.definition.model_copy(update={"star_catalog": None}))
    assert StarChoice.of(older).magnitudes == StarChoice.of(gaia).magnitudes
    foreign = replace(gaia, definition=None, manifest=None)
    assert StarChoice.of(foreign).magnitudes == StarChoice.of(gaia).magnitudes


@pytest.fixture(scope="module")
def wise(tmp_path_factory):
    """A copy of some columns of ALLWISE's, without that by which its preset knows stars."""
    table = patch_table(100, 10.0, 20.0, 0.2).rename_columns(["ra", "dec", "cntr"])
    columns = {
        "designation": pa.array([f"J{number}" for number in range(100)]),
        "w1mpro": pa.array([14.0] * 100),
        "w1sigmpro": pa.array([None if number < 30 else 0.1 for number in range(100)], pa.float64()),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    definition = load_definition("allwise").model_copy(update={"self_checks": ()})
    return make_copy(table, tmp_path_factory.mktemp("wise") / "wise", coverage="all-sky", definition=definition)


def test_upper_limits_are_missing(wise):
    choice = StarChoice.of(wise)
    stars = all_rows(choice)
    assert np.isnan(stars.magnitudes[:, 3]).sum() == 30
    assert np.nanmax(stars.magnitudes[:, 3]) == pytest.approx(16.7)
    assert "all rows count as stars, the copy lacks" in choice.describe()
    assert len(all_rows(StarChoice.of(wise, faint=17.0))) == 70


@pytest.mark.parametrize("faint", [float("nan"), float("inf"), float("-inf")])
def test_a_faint_magnitude_that_is_none_leaves_nothing_out(wise, faint):
    with pytest.raises(UsageError, match=f"--faint: {faint} is no magnitude"):
        StarChoice.of(wise, faint=faint)


def test_a_condition_that_has_no_answer_makes_no_star(wise):
    stars = all_rows(StarChoice.of(wise, stars="w1sigmpro < 1"))
    assert (stars.clas == 1).sum() == 30


@pytest.mark.parametrize(
    ("magnitudes", "stars", "kind", "told"),
    [
        ({"Vmag": "w1mpr"}, None, CatalogError, "has no column w1mpr .*near names: w1mpro"),
        ({"Vmag": "designation"}, None, CatalogError, "holds no numbers but"),
        ({}, None, UsageError, "no magnitude is given"),
        (None, "w1mpro.mean() > 2", UsageError, "cannot use mean"),
        (None, "w2mpro < 3", UsageError, "no column w2mpro"),
    ],
)
def test_what_cannot_be(wise, magnitudes, stars, kind, told):
    with pytest.raises(kind, match=told):
        StarChoice.of(wise, magnitudes, stars)
