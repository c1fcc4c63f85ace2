"""Formats told by content and suffix; what every reader does alike."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmatch_hats.errors import TableError
from xmatch_hats.tables.formats import format_of
from xmatch_hats.tables.read import open_table
from xmatch_hats.tables.write import write_table

TABLE = pa.table({"ra": [1.5, 2.5], "id": [2**60 + 1, None], "s": ["a", None]})


@pytest.mark.parametrize("suffix", ["csv", "fits", "vot", "ecsv", "parquet"])
@pytest.mark.parametrize("name", ["t", "t.dat", "t.cat"])
def test_content_tells_the_format(tmp_path, suffix, name):
    write_table(TABLE, tmp_path / f"t.{suffix}")
    path = (tmp_path / f"t.{suffix}").rename(tmp_path / name)
    assert open_table(path).read().to_pydict() == TABLE.to_pydict()
    if suffix != "parquet":
        path.write_bytes(gzip.compress(path.read_bytes()))
        assert open_table(path).read().to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.tbl", "|a |\n|i |\n 1\n", "ipac"),
        ("a", "\\x = 1\n|a |\n|i |\n 1\n", "ipac"),
        ("wise-allwise-cat-part01", "J1" + "|1" * 297 + "|\n", "bulk"),
        ("a.txt", "ra dec|x\n", "csv"),
        ("a.XML", "<?xml version='1.0'?>\n<VOTABLE>", "votable"),
        ("a.FITS", "SIMPLE  =", "fits"),
    ],
)
def test_formats(tmp_path, name, content, format):
    (tmp_path / name).write_text(content)
    assert format_of(tmp_path / name) == format


def test_a_promised_format_that_is_not_kept(tmp_path):
    for suffix in ("parquet", "fits", "vot", "ecsv"):
        path = tmp_path / f"t.{suffix}"
        path.write_text("ra,dec\n1,2\n")
        with pytest.raises(TableError, match=f"t.{suffix}"):
            open_table(path)


def test_what_is_no_table(tmp_path):
    with pytest.raises(TableError, match="no such file"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(TableError, match="is a folder"):
        open_table(tmp_path)
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(TableError, match="cannot be told"):
        open_table(tmp_path / "noise")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(TableError, match="is empty"):
        open_table(tmp_path / "empty")
    with pytest.raises(TableError, match="unknown format"):
        open_table(tmp_path / "noise", format="excel")


def test_parquet_streams_columns_in_the_order_asked(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table({"a": range(1000), "b": [f"x{i}" for i in range(1000)], "c": [[1]] * 1000})
    pq.write_table(table, path, row_group_size=300)
    source = open_table(path)
    assert source.num_rows == 1000
    batches = list(source.batches(["b", "a"], batch_rows=128))
    assert max(batch.num_rows for batch in batches) <= 128
    assert pa.Table.from_batches(batches).equals(table.select(["b", "a"]))
    assert source.read().equals(table)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(TableError, match="parquet"):
        open_table(path)
    pq.write_table(table.slice(0, 0), path)
    assert open_table(path).read().num_rows == 0


def test_a_damaged_page_is_an_error_of_the_file(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": range(100_000)}), path, compression="snappy")
    data = bytearray(path.read_bytes())
    data[50:2000] = b"\xff" * 1950
    path.write_bytes(data)
    with pytest.raises(TableError, match=r"t\.parquet"):
        open_table(path).read()
