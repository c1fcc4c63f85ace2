"""What is written is what is read again, in every format, and by astropy."""

import datetime as dt
import errno
import gzip
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import make_field, texts_of
from xmatch_hats.tables.read import open_table
from xmatch_hats.tables.write import write_table

SUFFIXES = ("csv", "csv.gz", "ecsv", "vot", "vot.gz", "fits", "fits.gz", "parquet", "tsv.bz2")


def rich_table(rows=None):
    fields = [
        make_field("ra", pa.float64(), unit="deg", ucd="pos.eq.ra;meta.main", description='Right <ascension> & "more"'),
        make_field("id", pa.int64(), ucd="meta.id"),
        make_field("pm", pa.int32(), unit="mas/yr"),
        make_field("mag", pa.float32(), unit="mag", description="Magnitude"),
        make_field("name", pa.string()),
        make_field("flag", pa.bool_()),
        make_field("code", pa.string()),
        *(make_field(str(t), t) for t in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.uint32(), pa.uint64())),
    ]
    columns = [
        [1.1, None, -1e-300, 359.99999999999994],
        [2**60 + 1, None, -(2**63), 2**63 - 1],
        [None, -(2**31), 2**31 - 1, 0],
        [0.1, None, -3.5, 1e30],
        ['a,"b', "<x>&amp;", None, "null"],
        [True, None, False, True],
        ["0000", "0211", None, "1234"],
        [-128, None, 127, 0],
        [0, None, 255, 7],
        [-32768, None, 32767, 0],
        [0, None, 65535, 1],
        [0, None, 2**32 - 1, 1],
        [0, None, 2**63 - 1, 2**53 + 1],
    ]
    table = pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)], schema=pa.schema(fields)
    )
    return table if rows is None else table.slice(0, rows)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [None, 1, 0])
def test_values_come_back(tmp_path, suffix, rows):
    table = rich_table(rows)
    path = tmp_path / f"t.{suffix}"
    write_table(table, path)
    found = open_table(path, column_types={f.name: f.type for f in table.schema}).read()
    assert found.schema.names == table.schema.names
    for name in table.schema.names:
        assert found[name].to_pylist() == table[name].to_pylist(), name
    if not suffix.startswith(("csv", "tsv")):
        for field in table.schema:
            assert texts_of(found.schema.field(field.name)) == texts_of(field)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("suffix", "format"), [("fits", "fits"), ("vot", "votable"), ("ecsv", "ascii.ecsv"), ("csv", "ascii.csv")]
)
def test_astropy_reads_the_same(tmp_path, suffix, format):
    table = rich_table().drop_columns(["flag", "ra", "uint64"])
    path = tmp_path / f"t.{suffix}"
    write_table(table, path)
    found = Table.read(path, format=format)
    for name in table.schema.names:
        mask = np.broadcast_to(getattr(found[name], "mask", False), len(found))
        values = [
            None if gap or value in ("", b"") else value for value, gap in zip(found[name].tolist(), mask, strict=True)
        ]
        expected = table[name].to_pylist()
        if suffix == "csv" and name in ("code", "mag"):
            continue  # a bare CSV says nothing of types
        if table.schema.field(name).type == pa.float32():
            values = [None if v is None or math.isnan(v) else v for v in values]
        if suffix == "fits" or name != "name":
            values = [v.decode() if isinstance(v, bytes) else v for v in values]
        assert values == expected or (suffix == "csv" and name == "name"), name
    if suffix != "csv":
        assert found["mag"].unit == "mag"
        assert found["mag"].description == ("Magnitude" if suffix != "fits" else found["mag"].description)


ATOMS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.float32(): st.floats(allow_nan=False, width=32),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8).map(
        lambda s: "x" + s.strip() + "y"
    ),
}


@st.composite
def tables(draw):
    types = draw(st.lists(st.sampled_from(list(ATOMS)), min_size=1, max_size=5))
    rows = draw(st.integers(0, 8))
    arrays = [pa.array(draw(st.lists(st.none() | ATOMS[t], min_size=rows, max_size=rows)), t) for t in types]
    return pa.table(arrays, names=[f"c{i}" for i in range(len(types))])


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "vot", "fits", "parquet"])
@given(table=tables())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_comes_back(tmp_path, suffix, table):
    path = tmp_path / f"t.{suffix}"
    write_table(table, path, overwrite=True)
    found = open_table(path, column_types={f.name: f.type for f in table.schema}).read()
    assert found.to_pydict() == table.to_pydict()


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "parquet"])
def test_nan_and_missing_differ_where_they_can(tmp_path, suffix):
    write_table(pa.table({"x": [1.0, math.nan, None], "y": [1, 2, 3]}), tmp_path / f"t.{suffix}")
    values = open_table(tmp_path / f"t.{suffix}").read()["x"].to_pylist()
    assert values[0] == 1.0
    assert math.isnan(values[1])
    assert values[2] is None


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "vot", "fits", "parquet"])
def test_other_types(tmp_path, suffix):
    when = dt.datetime(2020, 2, 29, 12, 30, 15, 250000)
    table = pa.table(
        {
            "t": pa.array([when, None], pa.timestamp("us")),
            "z": pa.array([when, None], pa.timestamp("ms", "Europe/Paris")),
            "d": pa.array([when.date(), None], pa.date32()),
            "c": pa.array(["u", None]).dictionary_encode(),
            "l": pa.array(["long", None], pa.large_string()),
            "n": pa.nulls(2),
        }
    )
    write_table(table, tmp_path / f"t.{suffix}")
    found = open_table(tmp_path / f"t.{suffix}").read()
    if suffix == "parquet":
        assert found["t"].to_pylist() == [when, None]
        return
    assert found["t"].to_pylist() == ["2020-02-29T12:30:15.250000", None]
    assert found["z"].to_pylist() == ["2020-02-29T12:30:15.250Z", None]
    assert found["d"].to_pylist() == ["2020-02-29", None]
    assert found["c"].to_pylist() == ["u", None]
    assert found["l"].to_pylist() == ["long", None]
    assert found["n"].to_pylist() == [None, None]


@pytest.mark.parametrize("suffix", ["vot", "fits", "parquet"])
def test_vectors(tmp_path, suffix):
    lists = pa.array([[1.0, 2.5], None, [3.0, 4.0]], pa.list_(pa.float64(), 2))
    write_table(pa.table({"v": lists}), tmp_path / f"t.{suffix}")
    found = open_table(tmp_path / f"t.{suffix}").read()["v"].to_pylist()
    assert (found[0], found[2]) == ([1.0, 2.5], [3.0, 4.0])
    assert found[1] in (None, [None, None])


@pytest.mark.parametrize(
    ("suffix", "column", "problem"),
    [
        ("csv", pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), "arrays"),
        ("fits", pa.array([[1.0]], pa.list_(pa.float64())), "no place"),
        ("vot", pa.array([{"a": 1}]), "no place"),
        ("fits", pa.array(["é"]), "not ASCII"),
        ("vot", pa.array(["a\x01b"]), "control characters"),
        ("vot", pa.array([2**63], pa.uint64()), "2\\*\\*63"),
    ],
)
def test_what_a_format_cannot_hold_is_named(tmp_path, suffix, column, problem):
    with pytest.raises(TableError, match=f"column odd.*{problem}") as caught:
        write_table(pa.table({"odd": column}), tmp_path / f"t.{suffix}")
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_mark_for_missing_never_meets_a_value(tmp_path):
    # All 65,536 values of int16 and a gap: no mark is left, so a wider type is needed; int64 takes both its ends.
    every = pa.array([*range(-(2**15), 2**15), None], pa.int16())
    ends = pa.array([-(2**63), 2**63 - 1, 5, None], pa.int64())
    for array in (every, ends):
        write_table(pa.table({"x": array}), tmp_path / "t.fits", overwrite=True)
        assert open_table(tmp_path / "t.fits").read()["x"].to_pylist() == array.to_pylist()


def test_large_unsigned_with_gaps(tmp_path):
    values = [2**64 - 1, None, 0, 2**63]
    write_table(pa.table({"x": pa.array(values, pa.uint64())}), tmp_path / "t.fits")
    assert open_table(tmp_path / "t.fits").read()["x"].to_pylist() == values


def test_text_beyond_ascii(tmp_path):
    table = pa.table([pa.array(["é Ori", None])], schema=pa.schema([make_field("näme", pa.string(), unit="Å")]))
    for suffix in ("csv", "ecsv", "vot"):
        write_table(table, tmp_path / f"t.{suffix}")
        assert open_table(tmp_path / f"t.{suffix}").read().to_pydict() == {"näme": ["é Ori", None]}


def test_plain_strings_stay_without_quotes(tmp_path):
    write_table(pa.table({"a": ["x", None], "b": [1, 2]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "a,b\nx,1\n,2\n"


def test_a_tsv_has_tabs(tmp_path):
    table = pa.table({"a": ["x, y", "t\tt", None], "b": [1, 2, 3]})
    write_table(table, tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_text() == 'a\tb\n"x, y"\t1\n"t\tt"\t2\n\t3\n'
    write_table(table, tmp_path / "t.TSV.gz")
    assert open_table(tmp_path / "t.TSV.gz").read().equals(table)


def test_more_rows_than_a_batch(tmp_path):
    rows = 150_000
    table = pa.table({"i": pa.array(np.arange(rows) + 2**60), "s": [f"s{i}" if i % 3 else None for i in range(rows)]})
    for suffix in ("csv", "fits", "parquet", "ecsv", "vot"):
        write_table(table, tmp_path / f"t.{suffix}")
        if suffix != "vot":  # astropy takes long over it; the small ones show the same code
            assert open_table(tmp_path / f"t.{suffix}").read().equals(table)
    assert (tmp_path / "t.vot").read_bytes().count(b"<TR>") == rows


class TestTargets:
    table = pa.table({"a": [1]})

    def test_an_existing_file_is_kept(self, tmp_path):
        path = tmp_path / "t.csv"
        path.write_text("mine")
        with pytest.raises(TableError, match="exists already"):
            write_table(self.table, path)
        assert path.read_text() == "mine"
        write_table(self.table, path, overwrite=True)
        assert path.read_text() == "a\n1\n"

    def test_a_failure_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "t.fits"
        path.write_text("mine")
        with pytest.raises(TableError):
            write_table(pa.table({"a": ["é"]}), path, overwrite=True)
        assert path.read_text() == "mine"
        assert [p.name for p in tmp_path.iterdir()] == ["t.fits"]

    @pytest.mark.parametrize(
        ("name", "format", "problem"),
        [
            ("t", None, "suffix tells no format"),
            ("t.tbl", None, "cannot be written as ipac"),
            ("t.csv", "nonsense", "cannot be written as nonsense"),
            ("t.parquet.gz", None, "compressed by itself"),
            ("no/t.csv", None, "does not exist"),
        ],
    )
    def test_wrong_targets(self, tmp_path, name, format, problem):
        with pytest.raises(TableError, match=problem):
            write_table(self.table, tmp_path / name, format=format)

    def test_a_folder(self, tmp_path):
        (tmp_path / "t.csv").mkdir()
        with pytest.raises(TableError, match="is a folder"):
            write_table(self.table, tmp_path / "t.csv", overwrite=True)

    def test_compression(self, tmp_path):
        write_table(self.table, tmp_path / "t.csv.gz")
        assert gzip.decompress((tmp_path / "t.csv.gz").read_bytes()) == b"a\n1\n"

    def test_doubled_names(self, tmp_path):
        with pytest.raises(TableError, match="two columns are called a"):
            write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "t.csv")

    def test_a_file_system_that_lets_nothing_be_removed(self, tmp_path, monkeypatch):
        """A read-only one refuses even to remove what is not there."""

        def refuse(*_, **__):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "open", refuse)
        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(TableError, match=r"t\.csv: cannot be written: Read-only"):
            write_table(self.table, tmp_path / "t.csv")
