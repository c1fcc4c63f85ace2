"""Tables of image pipelines as sources of a copy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from tests.images.ldac import write_ldac
from xmatch_hats.catalogs.importer import build_copy
from xmatch_hats.catalogs.sources import find_definition
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import TableError
from xmatch_hats.matching.search import Cone, cone_rows

N = 60
COLUMNS = {
    "X_WORLD": np.linspace(150.0, 150.2, N),
    "Y_WORLD": np.linspace(-33.4, -33.2, N),
    "MAG_AUTO": np.linspace(16.0, 24.0, N).astype("f4"),
}


def table(name, **more):
    columns = [fits.Column(key, "D" if key[1:] == "_WORLD" else "E", array=v) for key, v in COLUMNS.items()]
    columns += [fits.Column(key, form, array=values) for key, (form, values) in more.items()]
    return fits.BinTableHDU.from_columns(columns, name=name)


def test_a_list_of_sextractor(tmp_path):
    path = write_ldac(tmp_path / "tile_sexcat-0.fits", COLUMNS)
    with fits.open(path, mode="update") as hdus:
        # Bits are no numbers of a catalogue.
        hdus["LDAC_OBJECTS"].columns.del_col("BITS")
    copy = build_copy([path], tmp_path / "copy", workers=0, coverage="all-sky")
    assert (copy.ra_column, copy.dec_column, copy.total_rows) == ("X_WORLD", "Y_WORLD", N)
    verify_copy(copy.path).raise_if_failed()
    rows = cone_rows(copy, Cone(150.1, -33.3, 3600.0), ["NUMBER", "FLAGS", "MAG_AUTO", "FLUX_APER", "EXT"])
    rows = rows.sort_by("NUMBER")
    with fits.open(path) as hdus:
        data = hdus["LDAC_OBJECTS"].data
        assert rows["NUMBER"].to_pylist() == data["NUMBER"].tolist()
        assert rows["FLAGS"].to_pylist() == [None if flag == -99 else flag for flag in data["FLAGS"].tolist()]
        assert rows["FLUX_APER"].to_pylist() == data["FLUX_APER"].tolist()
        assert rows["EXT"].to_pylist() == list(data["EXT"])


def test_columns_that_cannot_be_read_are_left_out_by_naming_others(tmp_path):
    path = write_ldac(tmp_path / "tile_sexcat-0.fits", COLUMNS)
    for columns in (None, "all", ["MAG_AUTO", "BITS"]):
        with pytest.raises(TableError, match=r"column BITS holds bits \(11X\) \(drop .*; or import others alone, by"):
            build_copy([path], tmp_path / "copy", columns=columns, workers=0)
    copy = build_copy([path], tmp_path / "copy", columns=["MAG_AUTO"], workers=0, coverage="all-sky")
    assert copy.total_rows == N
    assert {"MAG_AUTO", "X_WORLD", "Y_WORLD"} <= set(copy.schema.names)
    assert "BITS" not in copy.schema.names


def test_a_final_catalogue(tmp_path):
    other = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])], name="OTHER")
    path = tmp_path / "final_cat.fits"
    fits.HDUList([fits.PrimaryHDU(), other, table("RESULTS", id=("K", np.arange(N)))]).writeto(path)
    copy = build_copy([path], tmp_path / "copy", workers=0)
    assert copy.total_rows == N
    assert "id" in copy.schema.names


def test_a_table_that_is_named(tmp_path):
    path = tmp_path / "tables.fits"
    fits.HDUList([fits.PrimaryHDU(), table("A"), table("B", b=("K", np.arange(N)))]).writeto(path)
    assert "b" in build_copy([path], tmp_path / "b", workers=0, hdu=2).schema.names
    assert "b" not in build_copy([path], tmp_path / "a", workers=0).schema.names


def test_of_several_lists_of_objects_none_is_taken_silently(tmp_path):
    path = tmp_path / "exposure.fits"
    fits.HDUList([fits.PrimaryHDU(), table("LDAC_OBJECTS"), table("LDAC_OBJECTS")]).writeto(path)
    with pytest.raises(TableError, match=r"exposure.fits: has 2 tables LDAC_OBJECTS, of HDUs 1 to 2 \(tell which"):
        build_copy([path], tmp_path / "copy", workers=0)
    assert build_copy([path], tmp_path / "copy", workers=0, hdu=2).total_rows == N


def test_a_matched_table_lies_where_its_own_rows_are(tmp_path):
    theirs = {name: ("D", COLUMNS[own] + 0.001) for name, own in (("ra", "X_WORLD"), ("dec", "Y_WORLD"))}
    matched = table("MATCHED", **theirs, designation=("4A", [f"J{row}" for row in range(N)]))
    plain = tmp_path / "plain.fits"
    matched.writeto(plain)
    assert find_definition(plain, None).name == "allwise"
    matched.header["XMRA"], matched.header["XMDEC"] = "X_WORLD", "Y_WORLD"
    path = tmp_path / "cat_matched-1.fits"
    matched.writeto(path)
    copy = build_copy([path], tmp_path / "copy", workers=0, coverage="all-sky")
    assert (copy.ra_column, copy.dec_column, copy.definition) == ("X_WORLD", "Y_WORLD", None)


@pytest.mark.parametrize(("name", "data"), [("psf.sqlite", b"anything"), ("psf.fits", b"SQLite format 3\0 and more")])
def test_pickles_are_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TableError, match=r"is an SQLite file: those of image pipelines hold pickles, .*FITS tables"):
        build_copy([tmp_path / name], tmp_path / "copy", workers=0)
