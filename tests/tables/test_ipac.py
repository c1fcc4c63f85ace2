"""IPAC tables against astropy's reader and by hand."""

import gzip

import numpy as np
import pytest
from astropy.table import Table

from xmatch_hats.errors import TableError
from xmatch_hats.tables import ipac
from xmatch_hats.tables.metadata import text_of
from xmatch_hats.tables.read import open_table

HEADER = """\\fixlen = {fixlen}
\\ made for a test
|designation |ra        |n    |m    |word |
|c           |d         |i    |long |char |
|            |deg       |     |     |     |
|null        |null      |-99  |null |null |
"""


def write(tmp_path, text, name="t.tbl"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def row(name, ra, n, m, word):
    return f" {name:<12}{ra:>11}{n:>6}{m:>6}{word:>6} \n"


def test_types_nulls_and_units(tmp_path):
    text = (
        HEADER.format(fixlen="T")
        + row("J1", 10.5, 1, 7, "a b")
        + row("null", "null", -99, "", "")
        + row("J3", "1e-3", -5, 12345, "x")
    )
    source = open_table(write(tmp_path, text))
    assert [str(field.type) for field in source.schema] == ["string", "double", "int64", "int64", "string"]
    assert text_of(source.schema.field("ra"), "unit") == "deg"
    assert [tuple(r.values()) for r in source.read().to_pylist()] == [
        ("J1", 10.5, 1, 7, "a b"),
        (None, None, None, None, None),
        ("J3", 0.001, -5, 12345, "x"),
    ]


def test_a_value_may_lie_under_a_pipe_but_not_touch_its_neighbour(tmp_path):
    lines = [
        "|a   |b   |c   |\n|int |int |char|\n",
        "  1    22   x  \n",
        "12345  22   xyz\n",
        "  1  12345  x  \n",
        "  1   22  xyz  \n",
    ]
    table = open_table(write(tmp_path, "".join(lines))).read()
    assert table.to_pylist() == [
        {"a": 1, "b": 22, "c": "x"},
        {"a": 12345, "b": 22, "c": "xyz"},
        {"a": 1, "b": 12345, "c": "x"},
        {"a": 1, "b": 22, "c": "xyz"},
    ]
    touching = lines[0] + lines[1] + "12345678 2  x  \n"
    with pytest.raises(TableError, match=r"line 4: the values of columns a and b run into each other"):
        open_table(write(tmp_path, touching)).read()


def test_a_wrong_value_is_named_by_its_line(tmp_path):
    text = HEADER.format(fixlen="F") + row("J1", 1, 1, 1, "a") + "\n" + row("J2", "1.5x", 1, 1, "a")
    with pytest.raises(TableError, match=r"line 9: column ra: '1.5x' is not double"):
        open_table(write(tmp_path, text)).read()


def test_a_file_cut_short_is_refused_where_it_promised_equal_lines(tmp_path):
    text = HEADER.format(fixlen="T") + row("J1", 10.5, 1, 7, "a") + row("J2", 10.25, 1, 7, "a")[:18]
    with pytest.raises(TableError, match=r"line 8: 18 characters, where the rows before have"):
        open_table(write(tmp_path, text)).read()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no header"),
        ("\\ only a comment\n", "no header"),
        ("|a |\n|complex |\n", "unknown type"),
        ("|a |a |\n|i |i |\n", "two columns"),
    ],
)
def test_broken_headers(tmp_path, text, problem):
    with pytest.raises(TableError, match=problem):
        open_table(write(tmp_path, text))


def test_no_rows_short_lines_windows_and_gzip(tmp_path):
    empty = open_table(write(tmp_path, HEADER.format(fixlen="T"))).read()
    assert (empty.num_rows, empty.num_columns) == (0, 5)
    text = HEADER.format(fixlen="F") + row("J1", 10.5, 1, 7, "a") + " J2           11.5\n"
    for data in (text.encode(), text.replace("\n", "\r\n").encode(), gzip.compress(text.rstrip("\n").encode())):
        table = open_table(write(tmp_path, data)).read()
        assert table["ra"].to_pylist() == [10.5, 11.5]
        assert table["word"].to_pylist() == ["a", None]


def test_blocks_join(tmp_path, monkeypatch):
    monkeypatch.setattr(ipac, "BLOCK_BYTES", 97)
    text = HEADER.format(fixlen="T") + "".join(row(f"J{i}", i / 8, i, i * 3, "w") for i in range(500))
    table = open_table(write(tmp_path, text)).read()
    assert table["n"].to_pylist() == list(range(500))
    assert table["ra"].to_pylist() == [i / 8 for i in range(500)]


def test_the_real_field_equals_astropys_reading(shared_data):
    path = shared_data / "w5_field" / "allwise_w5.tbl"
    table = open_table(path).read()
    oracle = Table.read(path, format="ascii.ipac")
    assert table.num_rows == len(oracle) == 6387
    for name in table.schema.names:
        mask = np.broadcast_to(getattr(oracle[name], "mask", False), len(oracle))
        expected = [None if gap else value for value, gap in zip(oracle[name].tolist(), mask, strict=True)]
        if isinstance(expected[0], str):
            expected = [None if value is None else value.strip() for value in expected]
        assert table[name].to_pylist() == expected, name
