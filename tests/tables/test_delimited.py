"""CSV and bulk files: types learnt without loss, missing values, odd rows by line."""

import bz2
import gzip

import pyarrow as pa
import pytest

from xmatch_hats.errors import TableError
from xmatch_hats.tables import delimited
from xmatch_hats.tables.read import open_table


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path, text, **keywords):
    return open_table(write(tmp_path, text), **keywords).read()


def test_types_missing_values_and_exact_integers(tmp_path):
    table = read(
        tmp_path,
        "id,x,name,flag,code,void\n438100001351049925,1.5,a,true,0211,\n,,,,,\n"
        "-9223372036854775808,nan,b c,false,12,\n",
    )
    assert [str(f.type) for f in table.schema] == ["int64", "double", "string", "bool", "string", "string"]
    assert table["id"].to_pylist() == [438100001351049925, None, -(2**63)]
    assert table["x"].to_pylist()[:2] == [1.5, None]
    assert table["x"].to_pylist()[2] != table["x"].to_pylist()[2]  # NaN is a value of its own here
    assert table["name"].to_pylist() == ["a", None, "b c"]
    assert table["flag"].to_pylist() == [True, None, False]
    assert table["code"].to_pylist() == ["0211", None, "12"]


@pytest.mark.parametrize(
    ("cells", "type_", "values"),
    [
        (["1", "2.5"], "double", [1.0, 2.5]),
        (["1", "x"], "string", ["1", "x"]),
        (["1.5", "x"], "string", ["1.5", "x"]),
        (["true", "1"], "string", ["true", "1"]),
        (["18446744073709551615", "1"], "uint64", [2**64 - 1, 1]),
        (["18446744073709551615", "-1"], "string", ["18446744073709551615", "-1"]),
        (["123456789012345678", "1.5"], "string", ["123456789012345678", "1.5"]),
        (["1.5", "123456789012345678"], "string", ["1.5", "123456789012345678"]),
        (["99999999999999999999999"], "string", ["99999999999999999999999"]),
        (["0x1F"], "string", ["0x1F"]),
        (["+60.5", "-1"], "double", [60.5, -1.0]),
        (["+7", " 8 "], "int64", [7, 8]),
        (["1", "  "], "int64", [1, None]),
        (["1", '""'], "int64", [1, None]),
        (["a", '""'], "string", ["a", ""]),
        (["1e3", "inf"], "double", [1000.0, float("inf")]),
        (["1", "null", "NULL"], "int64", [1, None, None]),
    ],
)
def test_a_type_is_learnt_from_all_rows(tmp_path, monkeypatch, cells, type_, values):
    # Blocks of a few rows: what a first block says must not bind the last.
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 64)
    filler = ["k,v"] + ["k," + cells[0]] * 20 + [f"k,{cell}" for cell in cells[1:]]
    table = read(tmp_path, "\n".join(filler) + "\n")
    assert str(table.schema.field("v").type) == type_
    assert table["v"].to_pylist() == [values[0]] * 20 + values[1:]


def test_given_types_hold(tmp_path):
    types = {"a": pa.string(), "b": pa.float32()}
    table = read(tmp_path, "a,b,c\n0001,1,2\n12,+2,3\n", column_types=types)
    assert table.to_pylist() == [{"a": "0001", "b": 1.0, "c": 2}, {"a": "12", "b": 2.0, "c": 3}]
    assert table.schema.field("b").type == pa.float32()


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("a,b\n1,2\n3\n4,5\n", "1 fields where the header has 2", 3),
        ("a,b\n1,2\n3,4,5\n", "3 fields where the header has 2", 3),
        ('a,b\n"x\ny",2\n3\n', "1 fields where the header has 2", 4),
        ("# note\na,b\n1,2\n3\n", "1 fields", 4),
    ],
)
def test_an_odd_row_is_named_by_its_line(tmp_path, text, problem, line):
    with pytest.raises(TableError, match=problem) as caught:
        read(tmp_path, text)
    assert caught.value.place.endswith(f"t.csv, line {line}")


def test_a_value_that_contradicts_its_given_type_is_named(tmp_path):
    with pytest.raises(TableError, match=r"line 3: column b: 'x' is not int64"):
        read(tmp_path, "a,b\n1,2\n1,x\n", column_types={"a": pa.int64(), "b": pa.int64()})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "no header line|empty"),
        (b"a,a\n1,2\n", "two columns are called a"),
        (b"a,b\n\xff\xfe,2\n", "not UTF-8"),
        (b"a\x00b,c\n", "binary"),
    ],
)
def test_what_is_no_csv_is_refused(tmp_path, text, problem):
    with pytest.raises(TableError, match=problem):
        read(tmp_path, text)


def test_byte_order_mark_quotes_comments_and_other_delimiters(tmp_path):
    table = read(tmp_path, b'\xef\xbb\xbfra,"de,c"\r\n1,"a ""b""\nc"\r\n')
    assert table.to_pylist() == [{"ra": 1, "de,c": 'a "b"\nc'}]
    assert read(tmp_path, "# made by hand\n# twice\nra;dec\n1;2\n").to_pylist() == [{"ra": 1, "dec": 2}]
    assert read(tmp_path, "#ra\tdec\n1\t2\n").to_pylist() == [{"ra": 1, "dec": 2}]
    assert read(tmp_path, '"a\nb","c\u2028d"\n7,8\n').to_pylist() == [{"a\nb": 7, "c\u2028d": 8}]
    assert read(tmp_path, ",x\n7,8\n").to_pylist() == [{"col1": 7, "x": 8}]


def test_a_ruled_table_of_vizier(tmp_path):
    text = "#\n#Name: II/328\nAllWISE\tRAJ2000\tccf\n\tdeg\t\n-----\t-------\t----\nJ1\t 10.5\t0000\nJ2\t-1  \t    \n\n"
    table = read(tmp_path, text)
    assert table["RAJ2000"].to_pylist() == [10.5, -1.0]
    assert table["AllWISE"].to_pylist() == ["J1", "J2"]


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])]
)
def test_compression_is_told_by_content(tmp_path, pack):
    path = write(tmp_path, pack(b"ra,dec\n1,2\n3,4\n"))
    assert open_table(path).read().to_pylist() == [{"ra": 1, "dec": 2}, {"ra": 3, "dec": 4}]


def test_a_compressed_file_cut_short_is_refused(tmp_path):
    data = gzip.compress(b"ra,dec\n" + b"".join(b"%d,%d\n" % (i, i * 7919) for i in range(20000)))
    with pytest.raises(TableError, match=r"t\.csv"):
        open_table(write(tmp_path, data[:-2000])).read()


@pytest.mark.parametrize("text", ["ra,dec\n", "ra,dec", "ra,dec\n\n \n"])
def test_no_rows(tmp_path, text):
    source = open_table(write(tmp_path, text))
    assert source.num_rows == 0
    assert list(source.batches()) == []
    assert source.read(["dec"]).schema.names == ["dec"]


def test_one_column_with_a_gap(tmp_path):
    assert read(tmp_path, "x\n1\n\n3\n")["x"].to_pylist() == [1, None, 3]


def test_batches_are_bounded_and_projected(tmp_path):
    path = write(tmp_path, "a,b,c\n" + "".join(f"{i},{i / 2},n{i}\n" for i in range(1000)))
    source = open_table(path)
    batches = list(source.batches(["c", "a"], batch_rows=300))
    assert [batch.num_rows for batch in batches] == [300, 300, 300, 100]
    assert batches[0].schema.names == ["c", "a"]
    assert source.num_rows == 1000
    with pytest.raises(TableError, match="no column 'z'"):
        list(source.batches(["z"]))


class TestBulk:
    names = ("designation", "ra", "flag", "n")
    types = {"designation": pa.string(), "ra": pa.float64(), "flag": pa.string(), "n": pa.int64()}  # noqa: RUF012

    @pytest.mark.parametrize("end", ["|", ""])
    @pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
    def test_rows(self, tmp_path, end, pack):
        rows = [("J1", "1.5", "0000", "438100001351049925"), ("J2", "", "0012", "")]
        text = "".join("|".join(row) + end + "\n" for row in rows)
        path = write(tmp_path, pack(text.encode()), "wise-allwise-cat-part01")
        source = open_table(path, format="bulk", names=self.names, column_types=self.types)
        assert source.read().to_pylist() == [
            {"designation": "J1", "ra": 1.5, "flag": "0000", "n": 438100001351049925},
            {"designation": "J2", "ra": None, "flag": "0012", "n": None},
        ]
        assert source.read(["n", "flag"]).schema.names == ["n", "flag"]

    def test_a_wrong_number_of_columns(self, tmp_path):
        path = write(tmp_path, "a|b|c|\n", "part")
        with pytest.raises(TableError, match="4 fields where 2 are expected") as caught:
            open_table(path, format="bulk", names=("a", "b"), column_types={})
        assert "line 1" in caught.value.place

    def test_a_row_cut_short(self, tmp_path):
        path = write(tmp_path, "J1|1|0000|5|\nJ2|1|00", "part")
        source = open_table(path, format="bulk", names=self.names, column_types=self.types)
        with pytest.raises(TableError, match="line 2"):
            source.read()

    def test_names_are_needed(self, tmp_path):
        path = write(tmp_path, "|".join(["1"] * 30) + "\n", "wise-allwise-cat-part01")
        with pytest.raises(TableError, match="definition"):
            open_table(path)

    def test_no_rows(self, tmp_path):
        path = write(tmp_path, "", "part")
        assert open_table(path, format="bulk", names=self.names, column_types=self.types).read().num_rows == 0
