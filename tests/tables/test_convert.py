"""Arrow to and from astropy and pandas: gaps, units, exact integers."""

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked

from xmatch_hats.errors import TableError
from xmatch_hats.tables.convert import from_astropy, from_pandas, to_astropy, to_pandas
from xmatch_hats.tables.metadata import make_field, texts_of

TABLE = pa.Table.from_arrays(
    [
        pa.array([2**62 + 1, None, -7]),
        pa.array([1.5, None, 3.0]),
        pa.array(["a", None, ""]),
        pa.array([True, None, False]),
        pa.array([[1.0, 2.0], None, [5.0, 6.0]], pa.list_(pa.float64(), 2)),
        pa.array([1, 2, 3], pa.int32()),
    ],
    schema=pa.schema(
        [
            make_field("id", pa.int64(), unit="s", ucd="meta.id"),
            make_field("ra", pa.float64(), unit="deg", ucd="pos.eq.ra", description="Right ascension"),
            make_field("s", pa.string()),
            make_field("b", pa.bool_()),
            make_field("v", pa.list_(pa.float64(), 2)),
            make_field("pm", pa.int32(), unit="mas/yr"),
        ]
    ),
)


@pytest.mark.parametrize("quantities", [False, True])
@pytest.mark.parametrize("rows", [3, 1, 0])
def test_through_astropy_and_back(quantities, rows):
    table = TABLE.slice(0, rows)
    made = to_astropy(table, quantities=quantities)
    assert isinstance(made, QTable) is quantities
    back = from_astropy(made)
    for name in table.schema.names:
        values = back[name].to_pylist()
        expected = table[name].to_pylist()
        assert [None if value == [None, None] else value for value in values] == expected, name
        assert texts_of(back.schema.field(name)) == texts_of(table.schema.field(name)), name
    assert back.schema.field("id").type == pa.int64()


def test_quantities_keep_long_integers():
    made = to_astropy(TABLE, quantities=True)
    assert isinstance(made["ra"], Masked)
    assert made["ra"].unit == u.deg
    assert made["id"].dtype == np.int64
    assert made["id"].meta["unit"] == "s"


def test_astropys_own_kinds():
    table = QTable(
        {
            "pos": SkyCoord([10, 20], [-5, 5], unit="deg", frame="fk5"),
            "t": Time([2459000.5, 2459001.5], format="jd"),
            "q": [1, 2] * u.km / u.s,
            "bytes": np.array([b"ab", b"c"]),
            "big": np.array([1, 2], dtype=">i8"),
            "object": MaskedColumn(["x", None], dtype=object, mask=[False, True]),
        }
    )
    found = from_astropy(table)
    icrs = table["pos"].icrs
    assert found["pos.ra"].to_pylist() == icrs.ra.deg.tolist()
    assert found["pos.dec"].to_pylist() == icrs.dec.deg.tolist()
    assert found["t"].to_pylist() == ["2020-05-31T00:00:00.000", "2020-06-01T00:00:00.000"]
    assert texts_of(found.schema.field("q")) == {"unit": "km/s"}
    assert found["bytes"].to_pylist() == ["ab", "c"]
    assert found["big"].to_pylist() == [1, 2]
    assert found["object"].to_pylist() == ["x", None]


def test_nan_and_masked_differ():
    found = from_astropy(Table({"x": MaskedColumn([1.0, np.nan, 3.0], mask=[False, False, True])}))["x"]
    assert found.null_count == 1
    assert np.isnan(found[1].as_py())


def test_what_has_no_counterpart():
    with pytest.raises(TableError, match="column z"):
        from_astropy(Table({"z": [1j, 2j]}))
    with pytest.raises(TableError, match="column s of type struct"):
        to_astropy(pa.table({"s": [{"a": 1}]}))
    with pytest.raises(TableError, match="data frame"):
        from_pandas(pd.DataFrame({"x": [1, "a", {}]}))


def test_pandas():
    frame = to_pandas(TABLE.drop_columns(["v"]))
    assert frame["id"].dtype == pd.ArrowDtype(pa.int64())
    assert frame["id"].iloc[0] == 2**62 + 1
    assert from_pandas(frame).to_pydict() == TABLE.drop_columns(["v"]).to_pydict()
    plain = pd.DataFrame({"x": [1.0, np.nan], 3: ["a", None]}, index=[5, 9])
    assert from_pandas(plain).to_pydict() == {"x": [1.0, None], "3": ["a", None]}
