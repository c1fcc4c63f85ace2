"""Coordinate columns by name, by UCD, and by hand."""

import pyarrow as pa
import pytest

from xmatch_hats.errors import TableError
from xmatch_hats.tables.coordinates import NAME_PAIRS, find_coordinates
from xmatch_hats.tables.metadata import make_field

F8 = pa.float64()


def schema(*names, **types):
    return pa.schema([(name, types.get(name, F8)) for name in names])


@pytest.mark.parametrize("pair", NAME_PAIRS)
def test_by_name(pair):
    assert find_coordinates(schema("x", *reversed(pair))) == pair
    upper = tuple(name.upper() for name in pair)
    assert find_coordinates(schema("x", *upper)) == upper


def test_the_first_pair_wins_and_halves_are_not_mixed():
    assert find_coordinates(schema("RAJ2000", "DEJ2000", "ra", "dec")) == ("ra", "dec")
    assert find_coordinates(schema("ra", "RAJ2000", "DEJ2000")) == ("RAJ2000", "DEJ2000")
    with pytest.raises(TableError, match="no coordinate columns"):
        find_coordinates(schema("ra", "DEJ2000"))
    with pytest.raises(TableError, match="no coordinate columns"):
        find_coordinates(schema("RA", "Ra", "dec"))


def test_by_ucd():
    fields = [
        make_field("a", F8, ucd="pos.eq.ra"),
        make_field("b", F8, ucd="pos.eq.dec"),
        make_field("lon", F8, ucd="POS.EQ.RA;META.MAIN"),
        make_field("lat", F8, ucd="pos.eq.dec;meta.main", unit="deg"),
    ]
    assert find_coordinates(pa.schema(fields)) == ("lon", "lat")
    assert find_coordinates(pa.schema(fields[:2])) == ("a", "b")
    with pytest.raises(TableError, match="by UCD"):
        find_coordinates(pa.schema([*fields[:2], make_field("c", F8, ucd="pos.eq.ra")]))


def test_by_hand():
    table = schema("ra", "dec", "u", "v", u=pa.int32())
    assert find_coordinates(table, "u", "v") == ("u", "v")
    for ra, dec, problem in (("u", None, "only one"), ("u", "w", "no column 'w'.*ra, dec, u, v"), ("u", "u", "both")):
        with pytest.raises(TableError, match=problem):
            find_coordinates(table, ra, dec)


def test_what_the_table_says_itself():
    table = schema("ra", "dec", "u", "v")
    assert find_coordinates(table, told=("u", "v")) == ("u", "v")
    assert find_coordinates(table, "ra", "dec", told=("u", "v")) == ("ra", "dec")
    with pytest.raises(TableError, match="no column 'w'"):
        find_coordinates(table, told=("u", "w"))


@pytest.mark.parametrize("table", [schema("a", "b"), schema("ra", "dec", ra=pa.string())])
def test_advice_is_about_arguments_as_python_has_them(table):
    with pytest.raises(TableError, match=r"with ra= and dec=") as caught:
        find_coordinates(table)
    assert "--" not in str(caught.value)


def test_what_is_not_degrees():
    with pytest.raises(TableError, match="'ra' is string"):
        find_coordinates(schema("ra", "dec", ra=pa.string()))
    with pytest.raises(TableError, match="in rad, not in degrees"):
        find_coordinates(pa.schema([make_field("ra", F8, unit="rad"), make_field("dec", F8, unit="rad")]))
