"""VOTables in every serialisation, ECSV in its dialects, against astropy."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import texts_of
from xmatch_hats.tables.read import open_table

VOTABLE = """<?xml version="1.0"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="id" datatype="long" ucd="meta.id;meta.main"/>
<FIELD name="ra" datatype="double" unit="deg" ucd="pos.eq.ra"><DESCRIPTION>Right &lt;ascension&gt;</DESCRIPTION></FIELD>
<FIELD name="n" datatype="short"><VALUES null="-99"/></FIELD>
<FIELD name="pm" datatype="float" unit="mas/yr"/>
<FIELD name="word" datatype="char" arraysize="*"/>
<FIELD name="letter" datatype="unicodeChar" arraysize="4"/>
<FIELD name="yes" datatype="boolean"/>
<FIELD name="v" datatype="float" arraysize="2"/>
<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>
"""
ROWS = (
    "<TR><TD>1152921504606846977</TD><TD>1.5</TD><TD>7</TD><TD>-3.5</TD>"
    "<TD>a&lt;b</TD><TD>é</TD><TD>T</TD><TD>1 2</TD></TR>"
    "<TR><TD/><TD>NaN</TD><TD>-99</TD><TD/><TD/><TD/><TD/><TD/></TR>"
)


def test_tabledata(tmp_path):
    path = tmp_path / "t.vot"
    path.write_text(VOTABLE.format(rows=ROWS))
    source = open_table(path)
    assert {f.name: str(f.type) for f in source.schema} == {
        "id": "int64", "ra": "double", "n": "int16", "pm": "float", "word": "string", "letter": "string", "yes": "bool",
        "v": "fixed_size_list<item: float>[2]",
    }  # fmt: skip
    assert texts_of(source.schema.field("ra")) == {
        "unit": "deg",
        "ucd": "pos.eq.ra",
        "description": "Right <ascension>",
    }
    assert texts_of(source.schema.field("pm")) == {"unit": "mas/yr"}
    first, second = source.read().to_pylist()
    assert first == {
        "id": 2**60 + 1,
        "ra": 1.5,
        "n": 7,
        "pm": -3.5,
        "word": "a<b",
        "letter": "é",
        "yes": True,
        "v": [1, 2],
    }
    assert second.pop("v") in (None, [None, None])
    assert set(second.values()) == {None}


@pytest.mark.parametrize("serialisation", ["tabledata", "binary", "binary2"])
@pytest.mark.parametrize("rows", [3, 1, 0])
def test_serialisations(tmp_path, serialisation, rows):
    table = Table(
        {"id": np.array([2**62 + 1, -5, 7]), "x": [1.5, -np.inf, 3.0], "s": ["a", "bc", "d"], "b": [True, False, True]}
    )
    path = tmp_path / "table.xml"
    table[:rows].write(path, format="votable", tabledata_format=serialisation)
    found = open_table(path).read()
    assert found.to_pydict() == {name: table[:rows][name].tolist() for name in table.colnames}


def test_gaps_in_binary2(tmp_path):
    gaps = [False, True]
    table = Table({"id": MaskedColumn([2**62 + 1, 0], mask=gaps), "x": MaskedColumn([1.5, 2.5], mask=gaps)})
    path = tmp_path / "t.vot"
    table.write(path, format="votable", tabledata_format="binary2")
    assert open_table(path).read().to_pydict() == {"id": [2**62 + 1, None], "x": [1.5, None]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (VOTABLE.format(rows=ROWS)[:-120], "not a whole VOTable"),
        ("<VOTABLE></VOTABLE>", "holds no table"),
        ("<VOTABLE", "not a whole VOTable"),
    ],
)
def test_broken_votables(tmp_path, text, problem):
    path = tmp_path / "t.vot"
    path.write_text(text)
    with pytest.raises(TableError, match=problem):
        open_table(path).read()


def ecsv_table():
    table = Table(
        {
            "id": MaskedColumn([2**62 + 1, 0, -7], mask=[False, True, False], dtype="int64"),
            "ra": MaskedColumn(
                [1.5, 2.5, np.nan], mask=[False, True, False], unit="deg", description="Right ascension"
            ),
            "small": np.array([1, 2, 3], dtype="uint8"),
            "word": MaskedColumn(['two words, "quoted"', "null", "x"], mask=[False, False, True]),
            "yes": [True, False, True],
        }
    )
    table["ra"].meta["ucd"] = "pos.eq.ra"
    return table


@pytest.mark.parametrize("delimiter", [" ", ","])
@pytest.mark.parametrize("rows", [3, 1, 0])
def test_ecsv_of_astropy(tmp_path, delimiter, rows):
    path = tmp_path / "t.ecsv"
    ecsv_table()[:rows].write(path, format="ascii.ecsv", delimiter=delimiter)
    source = open_table(path)
    assert {f.name: str(f.type) for f in source.schema} == {
        "id": "int64", "ra": "double", "small": "uint8", "word": "string", "yes": "bool",
    }  # fmt: skip
    assert texts_of(source.schema.field("ra")) == {"unit": "deg", "ucd": "pos.eq.ra", "description": "Right ascension"}
    found = source.read()
    assert found["id"].to_pylist() == [2**62 + 1, None, -7][:rows]
    assert found["ra"].to_pylist()[:2] == [1.5, None][:rows]
    assert found["small"].to_pylist() == [1, 2, 3][:rows]
    assert found["word"].to_pylist() == ['two words, "quoted"', "null", None][:rows]
    assert found["yes"].to_pylist() == [True, False, True][:rows]


def test_ecsv_with_quantities_and_objects(tmp_path):
    path = tmp_path / "t.ecsv"
    table = QTable(ecsv_table())
    table.write(path, format="ascii.ecsv")
    assert open_table(path).read()["ra"].to_pylist()[0] == 1.5
    table["pos"] = SkyCoord([1, 2, 3], [4, 5, -6], unit="deg")
    table["v"] = np.arange(6.0).reshape(3, 2)
    table.write(path, format="ascii.ecsv", overwrite=True)
    found = open_table(path).read()
    assert found["pos.dec"].to_pylist() == [4.0, 5.0, -6.0]
    assert found["v"].to_pylist() == [[0, 1], [2, 3], [4, 5]]
    assert found["id"].to_pylist() == [2**62 + 1, None, -7]


def test_an_ecsv_called_csv(tmp_path):
    path = tmp_path / "t.csv"
    ecsv_table().write(path, format="ascii.ecsv")
    assert open_table(path).schema.field("small").type == "uint8"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# %ECSV 1.0\n# ---\n# datatype: [\na\n1\n", "malformed"),
        ("# %ECSV 1.0\n# ---\n# nothing: 1\na\n1\n", "names no columns|malformed"),
        ("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\nb\n1\n", "disagrees with the header"),
        ("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\n", "disagrees with the header"),
        (
            "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: int64}\na\nx\n",
            "line 6: column a: 'x' is not int64",
        ),
    ],
)
def test_broken_ecsv(tmp_path, text, problem):
    path = tmp_path / "t.ecsv"
    path.write_text(text)
    with pytest.raises(TableError, match=problem):
        open_table(path).read()
