"""FITS tables written by astropy, and what headers say of scaling, nulls and offsets."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from xmatch_hats.errors import TableError
from xmatch_hats.tables.metadata import texts_of
from xmatch_hats.tables.read import open_table


def save(tmp_path, *hdus, name="t.fits"):
    path = tmp_path / name
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)
    return path


def table_hdu(name=None, **columns):
    made = [
        fits.Column(name=key, format=form, array=np.array(array), **more)
        for key, (form, array, more) in columns.items()
    ]
    return fits.BinTableHDU.from_columns(made, name=name)


def test_every_kind_of_column(tmp_path):
    path = save(
        tmp_path,
        table_hdu(
            ra=("D", [1.5, np.nan, -np.inf], {"unit": "deg"}),
            mag=("E", [1.25, 2, 3], {}),
            id=("K", [2**62 + 1, -99, -(2**63)], {"null": -99}),
            i2=("I", [1, -32768, 3], {"null": -32768}),
            byte=("B", [0, 128, 255], {}),
            u16=("I", np.array([0, 40000, 65535], "u2"), {"bzero": 2**15}),
            u32=("J", np.array([0, 3 * 10**9, 2**32 - 1], "u4"), {"bzero": 2**31}),
            u64=("K", np.array([0, 2**63 + 5, 2**64 - 1], "u8"), {"bzero": 2**63}),
            i1=("B", np.array([-128, 0, 127], "i1"), {"bzero": -128}),
            yes=("L", [True, False, True], {}),
            word=("6A", ["a b", "", "abcdef"], {}),
            vector=("3E", [[1, 2, 3], [4, np.nan, 6], [7, 8, 9]], {}),
        ),
    )
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TUCD1"] = "pos.eq.ra;meta.main"
        hdus[1].header["TCOMM1"] = "Right ascension"
    source = open_table(path)
    table = source.read()
    assert texts_of(source.schema.field("ra")) == {
        "unit": "deg",
        "ucd": "pos.eq.ra;meta.main",
        "description": "Right ascension",
    }
    assert {field.name: str(field.type) for field in source.schema} == {
        "ra": "double", "mag": "float", "id": "int64", "i2": "int16", "byte": "uint8", "u16": "uint16", "u32": "uint32",
        "u64": "uint64", "i1": "int8", "yes": "bool", "word": "string", "vector": "fixed_size_list<item: float>[3]",
    }  # fmt: skip
    assert table["ra"].to_pylist() == [1.5, None, -np.inf]
    assert table["id"].to_pylist() == [2**62 + 1, None, -(2**63)]
    assert table["i2"].to_pylist() == [1, None, 3]
    assert table["byte"].to_pylist() == [0, 128, 255]
    assert table["u16"].to_pylist() == [0, 40000, 65535]
    assert table["u32"].to_pylist() == [0, 3 * 10**9, 2**32 - 1]
    assert table["u64"].to_pylist() == [0, 2**63 + 5, 2**64 - 1]
    assert table["i1"].to_pylist() == [-128, 0, 127]
    assert table["yes"].to_pylist() == [True, False, True]
    assert table["word"].to_pylist() == ["a b", None, "abcdef"]
    assert table["vector"].to_pylist() == [[1, 2, 3], [4, None, 6], [7, 8, 9]]


def test_scaled_integers(tmp_path):
    path = save(tmp_path, table_hdu(x=("I", [10, 20, -5], {"null": -5}), y=("J", [1, 2, 3], {})))
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TSCAL1"] = 0.5
        hdus[1].header["TZERO1"] = 100.0
        hdus[1].header["TZERO2"] = 2**31 + 7
    table = open_table(path).read()
    # astropy scales on assignment, so the stored numbers are those of the raw records.
    with fits.open(path) as hdus:
        raw = hdus[1].data.view(np.ndarray)
        stored_x, stored_y = raw["x"].tolist(), raw["y"].tolist()
    assert table["x"].to_pylist() == [None if v == -5 else v * 0.5 + 100 for v in stored_x]
    assert table["y"].to_pylist() == [v + 2**31 + 7 for v in stored_y]
    assert str(table.schema.field("y").type) == "int64"


def test_the_table_is_chosen(tmp_path):
    head = table_hdu("LDAC_IMHEAD", Field=("4A", ["card"], {}))
    objects = table_hdu("LDAC_OBJECTS", ra=("D", [1.0, 2.0], {}))
    other = table_hdu("OTHER", x=("D", [5.0], {}))
    ldac = save(tmp_path, head, objects, other, name="ldac.cat")
    assert open_table(ldac).read().to_pylist() == [{"ra": 1.0}, {"ra": 2.0}]
    assert open_table(ldac, hdu=3).read()["x"].to_pylist() == [5.0]
    assert open_table(ldac, hdu="other").read()["x"].to_pylist() == [5.0]
    assert open_table(ldac, hdu="1").schema.names == ["Field"]
    assert open_table(save(tmp_path, fits.ImageHDU(np.zeros((2, 2))), other)).schema.names == ["x"]
    for wanted, problem in (
        (0, "is no table"),
        (9, "does not exist"),
        (-1, "does not exist"),
        ("none", "does not exist"),
    ):
        with pytest.raises(TableError, match=f"HDU {wanted} {problem}.*LDAC_OBJECTS"):
            open_table(ldac, hdu=wanted)
    with pytest.raises(TableError, match="holds no table"):
        open_table(save(tmp_path, fits.ImageHDU(np.zeros((2, 2)))))


def test_an_hdu_belongs_to_fits_only(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(TableError, match="no HDUs"):
        open_table(tmp_path / "t.csv", hdu=1)


def test_an_ascii_table(tmp_path):
    columns = [
        fits.Column(name="ra", format="F12.7", array=np.array([1.5, 2.25]), unit="deg", ascii=True),
        fits.Column(name="n", format="I6", array=np.array([7, -8]), ascii=True),
        fits.Column(name="w", format="A5", array=np.array(["ab", "c"]), ascii=True),
    ]
    table = open_table(save(tmp_path, fits.TableHDU.from_columns(columns))).read()
    assert table.to_pylist() == [{"ra": 1.5, "n": 7, "w": "ab"}, {"ra": 2.25, "n": -8, "w": "c"}]
    assert texts_of(table.schema.field("ra")) == {"unit": "deg"}


def test_chunks_projection_gzip_and_empty(tmp_path):
    rng = np.random.default_rng(1)
    oracle = Table(
        {"a": rng.integers(-(2**63), 2**63 - 1, 5000), "b": rng.normal(size=5000), "s": [f"s{i}" for i in range(5000)]}
    )
    path = tmp_path / "t.fits"
    oracle.write(path)
    source = open_table(path)
    batches = list(source.batches(["s", "a"], batch_rows=700))
    assert [batch.num_rows for batch in batches] == [700] * 7 + [100]
    assert np.array_equal(np.concatenate([batch["a"].to_numpy() for batch in batches]), oracle["a"])
    packed = tmp_path / "t.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert open_table(packed).read().equals(source.read())
    oracle[:0].write(path, overwrite=True)
    assert open_table(path).read().num_rows == 0


def test_an_unpacked_copy_does_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    path = save(tmp_path, table_hdu(x=("D", [5.0], {})))
    packed = tmp_path / "t.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    source = open_table(packed)
    source.read()
    del source
    assert list((tmp_path / "scratch").iterdir()) == []


def test_broken_files(tmp_path):
    path = save(tmp_path, table_hdu(x=("D", np.arange(10000.0), {})))
    whole = path.read_bytes()
    for data, problem in (
        (whole[:20000], "cut short"),
        (whole[:2000], "t.fits"),
        (b"", "t.fits"),
        (b"SIMPLE  = not", "t.fits"),
    ):
        path.write_bytes(data)
        with pytest.raises(TableError, match=problem):
            open_table(path).read()


@pytest.mark.parametrize(
    ("form", "array", "problem"),
    [
        ("PE()", np.array([np.zeros(1), np.zeros(2)], dtype=object), "varying length"),
        ("C", [1j, 2j], "complex"),
        ("8X", [[True] * 8, [False] * 8], "bits"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path, form, array, problem):
    columns = [fits.Column(name="odd", format=form, array=array), fits.Column(name="x", format="D", array=[1.0, 2.0])]
    source = open_table(save(tmp_path, fits.BinTableHDU.from_columns(columns)))
    for wanted in (None, ["x", "odd"]):
        with pytest.raises(TableError, match=f"column odd holds .*{problem}"):
            source.read(wanted)
    # Nobody asked for the odd one.
    assert source.read(["x"])["x"].to_pylist() == [1.0, 2.0]
