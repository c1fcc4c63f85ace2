"""Odd tables of every kind: masks, units, frames and names are minded, and what cannot be meant is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked

from xmatch_hats import crossmatch
from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.matching.batch import as_degrees
from xmatch_hats.matching.forms import form_of, to_arrow

RA, DEC = np.array([10.0, 200.0, 350.0]), np.array([-5.0, 0.0, 89.0])
HIDDEN = [True, False, False]


def hidden_skycoord():
    return SkyCoord(Masked(RA * u.deg, mask=HIDDEN), Masked(DEC * u.deg, mask=HIDDEN))


@pytest.mark.parametrize(
    "angles",
    [
        np.ma.array(RA, mask=HIDDEN),
        MaskedColumn(RA, mask=HIDDEN, unit="deg"),
        MaskedColumn(np.radians(RA), mask=HIDDEN, unit="rad"),
        Masked(RA * u.deg, mask=HIDDEN),
        Masked((RA * u.deg).to(u.hourangle), mask=HIDDEN),
        Masked(RA, mask=HIDDEN),
        pd.Series(pd.array([None, *RA[1:]], dtype="Float64"), index=["unit", "mask", "value"]),
        pa.chunked_array([[None, RA[1]], [RA[2]]]),
        [None, *RA[1:]],
    ],
    ids=lambda angles: type(angles).__name__,
)
def test_masks_and_units_of_angles_are_minded(angles):
    np.testing.assert_allclose(as_degrees(angles), [np.nan, *RA[1:]], rtol=1e-14)


@pytest.mark.parametrize("angles", [["a"], [1j], RA * u.s])
def test_what_is_no_angle(angles):
    with pytest.raises(UsageError, match="numbers of degrees"):
        as_degrees(angles)


@pytest.mark.parametrize("make", [lambda c: c, lambda c: QTable({"c": c}), lambda c: Table({"c": c})])
def test_masked_skycoords_have_no_position(make):
    form = form_of(make(hidden_skycoord()))
    assert np.isnan(form.ra).tolist() == HIDDEN
    np.testing.assert_allclose(form.dec[1:], DEC[1:])


def test_frames_distances_and_representations():
    distant = SkyCoord(RA * u.deg, DEC * u.deg, distance=[1, 2, 3] * u.kpc)
    vectors = SkyCoord(distant.cartesian, representation_type="cartesian")
    for positions in (distant.galactic, vectors, distant.transform_to("fk5"), distant.reshape(3, 1)):
        form = form_of(positions)
        np.testing.assert_allclose(form.ra, RA, rtol=0, atol=1e-9)
        np.testing.assert_allclose(form.dec, DEC, rtol=0, atol=1e-9)
    with pytest.raises(TableError, match="frame altaz"):
        form_of(SkyCoord(alt=[1] * u.deg, az=[2] * u.deg, frame="altaz"))


def test_mixed_columns_come_back():
    table = QTable({"ra": RA * u.deg, "dec": DEC * u.deg, "when": Time([59000.0] * 3, format="mjd")})
    table["vector"], table["anything"] = np.ones((3, 2)), [{"a": 1}] * 3
    out = crossmatch(table, pd.DataFrame({"ra": [200.0] * 2, "dec": [0.0] * 2}), n_neighbors=None)
    assert out["when"].mjd.tolist() == [59000.0] * 4
    assert out["vector"].shape == (4, 2)
    assert out["anything"][3] == {"a": 1}


def test_views_of_texts_can_be_taken():
    table = pa.table({"ra": RA, "dec": DEC, "text": pa.array(["a", "b", None], pa.string_view())})
    out = crossmatch(table, table, name="again")
    assert out["text"].to_pylist() == out["text_again"].to_pylist() == ["a", "b", None]


def test_integers_that_are_no_position():
    table = pa.table({"ra": pa.array([2**62, 200]), "dec": pa.array([0, 0], pa.uint8())})
    assert crossmatch(table, table, name="again")["_status"].to_pylist() == ["rejected", "matched"]


@pytest.mark.parametrize(
    "table",
    [
        pa.Table.from_arrays([pa.array(RA), pa.array(DEC), pa.array(RA)], names=["ra", "dec", "ra"]),
        pd.DataFrame(np.ones((2, 4)), columns=["ra", "dec", "flux", "flux"]),
    ],
    ids=["arrow", "pandas"],
)
def test_two_columns_of_one_name(table):
    plain = pa.table({"ra": RA, "dec": DEC})
    for left, right in ((table, plain), (plain, table)):
        with pytest.raises(TableError, match="two columns are called"):
            crossmatch(left, right)


def test_right_tables_are_read_as_left_ones_are():
    radians = QTable({"ra": np.radians(RA) * u.rad, "dec": DEC * u.deg, "n": [7, 8, 9]})
    inside = Table({"c": SkyCoord(RA, DEC, unit="deg"), "n": [7, 8, 9]})
    for right in (radians, inside):
        assert crossmatch(pa.table({"ra": RA, "dec": DEC}), right)["n"].to_pylist() == [7, 8, 9]
    assert to_arrow(inside).column_names == ["c.ra", "c.dec", "n"]


def test_columns_without_numbers_are_called_as_pandas_does():
    right = pd.DataFrame({"ra": [1.0], "dec": [2.0]})
    assert len(crossmatch(pd.DataFrame({"ra": [], "dec": []}, dtype=object), right)) == 0
    for column in (pd.Series([{}], dtype=object), pd.Series(["a"], dtype="category")):
        with pytest.raises(TableError, match=f"'ra' is {column.dtype}, not a number"):
            crossmatch(pd.DataFrame({"ra": column, "dec": [2.0]}), right)
