"""Columns are found by their names, units and UCDs, whoever wrote them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from xmatch_hats.bulk.report.columns import MAX_MAGNITUDES, match_columns
from xmatch_hats.bulk.report.outputs import Target
from xmatch_hats.errors import XmatchError
from xmatch_hats.tables.metadata import make_field

POSITION = ("ra", "dec")


def schema(*names, **types):
    return pa.schema([pa.field(name, pa.float64()) for name in names] + [pa.field(*item) for item in types.items()])


def test_names_with_and_without_the_catalogue():
    plain = match_columns(schema("ra", "dec", "_dist_arcsec", "_status", "_rank"), Target("gaia"), [], POSITION)
    assert (plain.distance, plain.status, plain.rank) == ("_dist_arcsec", "_status", "_rank")
    assert plain.right is None
    names = ["ra", "dec", "ra_gaia", "dec_gaia", "_dist_arcsec", "_dist_arcsec_gaia", "_status_gaia"]
    named = match_columns(schema(*names), Target("gaia"), [], POSITION)
    assert (named.distance, named.status, named.rank) == ("_dist_arcsec_gaia", "_status_gaia", None)
    assert named.right == ("ra_gaia", "dec_gaia")
    with pytest.raises(XmatchError, match="no column _dist_arcsec of gaia"):
        match_columns(schema("ra", "dec"), Target("gaia"), [], POSITION)


def test_magnitudes_by_ucd_unit_or_name():
    fields = [
        pa.field("_dist_arcsec", pa.float64()),
        make_field("brightness", pa.float32(), unit="mag", ucd="phot.mag;em.opt"),
        make_field("mag_like", pa.float32(), unit="mag", ucd="stat.error;phot.mag"),
        pa.field("gmag", pa.float64()),
        make_field("magnitude", pa.float64(), unit="mag"),
        make_field("fluxmag", pa.float64(), unit="Jy"),
        *(pa.field(name, pa.float64()) for name in ("sigmagpsf", "e_Vmag", "mag_err", "magnr", "maglim", "image")),
        pa.field("magtype", pa.string()),
    ]
    found = match_columns(pa.schema(fields), Target("x"), [], POSITION)
    assert found.magnitudes == ("brightness", "gmag", "magnitude")
    assert found.colour is None
    many = schema("_dist_arcsec", *(f"mag{number}" for number in range(20)))
    assert len(match_columns(many, Target("x"), [], POSITION).magnitudes) == MAX_MAGNITUDES


def test_the_colour_of_wise_and_what_are_its_limits():
    names = ["_dist_arcsec", "magpsf", "w1mpro", "w2mpro", "w1sigmpro"]
    found = match_columns(schema(*names), Target("allwise"), [], POSITION)
    assert found.colour == ("w1mpro", "w2mpro")
    assert found.errors == {"w1mpro": "w1sigmpro"}
    assert found.magnitudes == ("w1mpro", "w2mpro", "magpsf")
    assert found.all == ["_dist_arcsec", "w1mpro", "w2mpro", "magpsf", "w1sigmpro"]


def test_columns_of_other_catalogues_are_theirs():
    names = ["_dist_arcsec_a", "_dist_arcsec_b", "gmag_a", "gmag_b", "vmag", "magpsf"]
    a, b = Target("a", columns=("gmag",)), Target("b", columns=("gmag", "vmag"))
    assert match_columns(schema(*names), a, [b], POSITION).magnitudes == ("gmag_a", "magpsf")
    assert match_columns(schema(*names), b, [a], POSITION).magnitudes == ("gmag_b", "vmag", "magpsf")
