"""One call, every kind of table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table

from tests.matching.skies import KEYED
from tests.oracle import brute_force
from xmatch_hats import crossmatch, open_catalog
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, RadiusError, TableError, UsageError

BIG = 9_007_199_254_740_993
RADIUS = 6.0


@pytest.fixture(scope="module")
def left(sky):
    """Some positions, and the id of what each should find, -1 for nothing."""
    take = np.random.default_rng(1).choice(len(sky.ra), 150, replace=False)
    ra, dec = sky.ra[take], sky.dec[take]
    return ra, dec, expected_ids(sky, ra, dec)


def expected_ids(sky, ra, dec):
    pairs = brute_force(ra, dec, sky.frame["ra"], sky.frame["dec"], RADIUS, k=1)
    found = np.full(len(ra), -1, dtype=np.int64)
    found[pairs.left] = sky.ids[pairs.right]
    # Rows on one spot are one to the sky: compare by the first of them.
    return found


def same_spots(sky, ids, expected):
    place = {i: (a, b) for i, a, b in zip(sky.ids, sky.frame["ra"], sky.frame["dec"], strict=True)} | {-1: None}
    return [place[i] for i in ids] == [place[i] for i in expected]


def ids_of(column):
    return [-1 if value is None or value is pd.NA or value is np.ma.masked else int(value) for value in column]


def test_arrow(sky, copy_path, left):
    ra, dec, expected = left
    table = pa.table({"objid": np.arange(150) + BIG, "RAJ2000": ra, "DEJ2000": dec, "w1mpro": np.zeros(150)})
    out = crossmatch(table, copy_path, RADIUS * u.arcsec)
    assert isinstance(out, pa.Table)
    assert out.column_names == [
        *("objid", "RAJ2000", "DEJ2000", "w1mpro", "ra", "dec", "cntr", "w1mpro_sky", "designation"),
        *("_dist_arcsec", "_status"),
    ]
    assert out["objid"].equals(table["objid"])
    assert same_spots(sky, ids_of(out["cntr"].to_pylist()), expected)
    batch = table.to_batches()[0]
    assert crossmatch(batch, copy_path, RADIUS, how="inner").num_rows == (expected >= 0).sum()


def test_pandas_keeps_index_and_integers(sky, copy_path, left):
    ra, dec, expected = left
    frame = pd.DataFrame({"ra": ra, "dec": dec, "objid": np.arange(150) + BIG, "note": [{"a": 1}] * 150})
    frame.index = pd.Index(np.arange(150)[::-1] // 2, name="key")
    out = crossmatch(frame, copy_path, 0.1 * u.arcmin, columns=["cntr"], name="wise")
    assert out.index.equals(frame.index)
    assert out.columns.tolist() == ["ra", "dec", "objid", "note", "cntr", "_dist_arcsec", "_status"]
    assert out["objid"].tolist() == frame["objid"].tolist()
    assert out["cntr"].dtype == pd.ArrowDtype(pa.int64())
    assert same_spots(sky, ids_of(out["cntr"]), expected)
    assert len(crossmatch(frame, copy_path, RADIUS, n_neighbors=None, columns=["cntr"])) > 150


@pytest.mark.parametrize("kind", [Table, QTable])
def test_astropy(sky, copy_path, left, kind):
    ra, dec, expected = left
    table = kind({"objid": np.arange(150) + BIG, "RA": np.radians(ra) * u.rad, "Dec": dec * u.deg})
    table["objid"].description = "kept"
    table.meta["origin"] = "kept"
    out = crossmatch(table, copy_path, RADIUS)
    assert type(out) is kind
    assert out["objid"].description == "kept"
    assert out.meta["origin"] == "kept"
    assert out["objid"].dtype == np.int64
    assert same_spots(sky, ids_of(out["cntr"]), expected)


def test_astropy_masked_positions_are_rejected(copy_path):
    table = Table({"ra": MaskedColumn([1.0, 2.0], mask=[True, False]), "dec": [0.0, 95.0]})
    assert list(crossmatch(table, copy_path, RADIUS)["_status"]) == ["rejected", "rejected"]


def test_skycoord(sky, copy_path, left):
    ra, dec, expected = left
    out = crossmatch(SkyCoord(ra, dec, unit="deg").galactic, copy_path, RADIUS)
    assert isinstance(out, QTable)
    assert out.colnames[:2] == ["ra", "dec"]
    assert out["_dist_arcsec"].unit == u.arcsec
    assert same_spots(sky, ids_of(out["cntr"]), expected)
    one = crossmatch(SkyCoord(ra[0], dec[0], unit="deg"), copy_path, RADIUS)
    assert len(one) == 1
    inside = crossmatch(QTable({"coord": SkyCoord(ra, dec, unit="deg")}), copy_path, RADIUS)
    assert isinstance(inside["coord"], SkyCoord)
    assert same_spots(sky, ids_of(inside["cntr"]), expected)


def test_plain_right_sides(sky, left):
    ra, dec, expected = left
    table = pa.table({"ra": ra, "dec": dec})
    frame = sky.frame.copy()
    frame.loc[len(frame)] = [np.nan, 0.0, 0, 0.0, "no position"]
    for right in (frame, pa.Table.from_pandas(frame), Table.from_pandas(frame)):
        out = crossmatch(table, right, RADIUS)
        assert out.column_names[2:] == [
            "ra_right",
            "dec_right",
            "cntr",
            "w1mpro",
            "designation",
            *out.column_names[-2:],
        ]
        assert same_spots(sky, ids_of(out["cntr"].to_pylist()), expected)
        assert set(out["_status"].to_pylist()) == {"matched", "unmatched"}
    out = crossmatch(table, SkyCoord(frame["ra"][:-1], frame["dec"][:-1], unit="deg"), RADIUS, name="cat")
    assert out.column_names == ["ra", "dec", "ra_cat", "dec_cat", "_row", "_dist_arcsec", "_status"]
    found = [-1 if row is None else sky.ids[row] for row in out["_row"].to_pylist()]
    assert same_spots(sky, found, expected)


def test_ties_in_a_plain_table_go_to_the_earlier_row():
    right = pd.DataFrame({"ra": [10.0] * 5, "dec": [20.0] * 5, "n": [4, 3, 2, 1, 0]})
    assert crossmatch(pd.DataFrame({"ra": [10.0], "dec": [20.0]}), right, 1.0)["n"].tolist() == [4]


def test_lsdb_right_side_narrowed_or_not(sky, copy_path, left):
    ra, dec, expected = left
    table = pa.table({"ra": ra, "dec": dec})
    catalog = open_catalog(copy_path)
    out = crossmatch(table, catalog, RADIUS)
    assert same_spots(sky, ids_of(out["cntr"].to_pylist()), expected)
    bright = crossmatch(table, catalog.query("w1mpro < 15"), RADIUS, columns=["cntr", "w1mpro"], n_neighbors=None)
    keep = (sky.frame["w1mpro"] < 15).to_numpy()
    pairs = brute_force(ra, dec, sky.frame["ra"][keep], sky.frame["dec"][keep], RADIUS)
    assert sorted(ids_of(bright["cntr"].drop_null())) == sorted(sky.ids[keep][pairs.right])
    with pytest.raises(RadiusError, match="cannot be searched"):
        crossmatch(table, catalog, 11.0)


def test_lsdb_right_sides_whose_margins_lsdb_has_cut(sky, copy_path):
    """A coarse search keeps whole partitions, but of the margins only what lies in the region."""
    catalog = open_catalog(copy_path)
    table = pa.table({"ra": sky.ra, "dec": sky.dec})
    coarse = [
        catalog.cone_search(45.0, 0.0, 100.0, fine=False),
        catalog.box_search(ra=(-1, 1), dec=(-1, 13), fine=False),
        catalog.cone_search(45.0, 0.0, 3600.0),
    ]
    for narrowed in coarse:
        rows = narrowed.compute(progress_bar=False)
        pairs = brute_force(sky.ra, sky.dec, rows["ra"].to_numpy(float), rows["dec"].to_numpy(float), 8.0, k=1)
        out = crossmatch(table, narrowed, 8.0)
        found = out["_dist_arcsec"].to_numpy()
        assert 50 < len(pairs) < len(sky.ra)
        np.testing.assert_array_equal(np.flatnonzero(~np.isnan(found)), pairs.left)
        np.testing.assert_allclose(found[pairs.left], pairs.sep_arcsec, rtol=0, atol=1e-9)


def test_ties_by_the_recorded_id_whichever_way_a_copy_is_opened(tmp_path):
    from tests.copies import make_copy

    spots = {"ra": [10.0, 10.0, 20.0], "dec": [5.0, 5.0, 6.0], "key": [7, 3, 1]}
    definition = tmp_path / "mine.toml"
    definition.write_text(KEYED)
    copy = make_copy(pa.table(spots), tmp_path / "mine", definition=definition, coverage="all-sky")
    assert copy.id_column == "key"
    table = pa.table({"ra": [10.0], "dec": [5.0]})
    for right in (copy.path, open_catalog(copy.path)):
        assert crossmatch(table, right)["key"].to_pylist() == [3]


def test_a_column_named_as_matching_names_its_own(copy_path):
    hostile = open_catalog(copy_path).rename(columns={"w1mpro": "_xmatch_hats_row"})
    with pytest.raises(CatalogError, match="_xmatch_hats_row"):
        crossmatch(pa.table({"ra": [1.0], "dec": [2.0]}), hostile)


def test_wrong_use(copy_path, tmp_path):
    table = pa.table({"ra": [1.0], "dec": [2.0]})
    for radius in (0.0, -1 * u.arcsec, np.nan, 20.0, 1 * u.s, [1.0, 2.0], "wide", None, True):
        with pytest.raises(RadiusError):
            crossmatch(table, copy_path, radius)
    with pytest.raises(TableError, match="no coordinate columns"):
        crossmatch(pa.table({"x": [1.0]}), copy_path)
    with pytest.raises(TableError, match="degrees"):
        crossmatch(Table({"ra": [1.0] * u.s, "dec": [1.0] * u.deg}), copy_path)
    with pytest.raises(UsageError, match="a list cannot be matched"):
        crossmatch([1, 2], copy_path)
    with pytest.raises(CatalogNotFoundError):
        crossmatch(table, tmp_path / "nothing")
    with pytest.raises(UsageError, match="no join 'outer'"):
        crossmatch(table, copy_path, how="outer")
    twice = crossmatch(crossmatch(table, copy_path), copy_path)
    with pytest.raises(UsageError, match="already has a column '_dist_arcsec_"):
        crossmatch(twice, copy_path)
    with pytest.raises(UsageError, match="vizier"):
        crossmatch(table, copy_path, names="vizier")
    with pytest.raises(TableError, match="no column 'nope'"):
        crossmatch(table, pd.DataFrame({"ra": [1.0], "dec": [2.0]}), columns=["nope"])
    with pytest.raises(UsageError, match="SkyCoord has no columns"):
        crossmatch(SkyCoord(1, 2, unit="deg"), copy_path, ra="ra", dec="dec")
    for right in (None, [1], {"ra": 1}):
        with pytest.raises(UsageError, match="nothing can be matched with a"):
            crossmatch(table, right)
    for right in (copy_path, pd.DataFrame({"ra": [1.0], "dec": [2.0]})):
        with pytest.raises(UsageError, match="no engine 'magic'"):
            crossmatch(table, right, engine="magic")
        with pytest.raises(UsageError, match="must be a distributed"):
            crossmatch(table, right, client="tcp://127.0.0.1:9")
        with pytest.raises(UsageError, match="not the text 'ra'"):
            crossmatch(table, right, columns="ra")
        with pytest.raises(UsageError, match=r"no .* names"):
            crossmatch(table, right, names=["a"])
        for k in (1.5, "2"):
            with pytest.raises(UsageError, match="whole number"):
                crossmatch(table, right, n_neighbors=k)
    for right in (copy_path, open_catalog(copy_path)):
        with pytest.raises((CatalogError, TableError), match="near names: w1mpro"):
            crossmatch(table, right, columns=["W1MPR"])


def test_engines_are_for_tables_and_copies(sky, copy_path):
    table = pa.table({"ra": sky.ra[:5], "dec": sky.dec[:5]})
    catalog = open_catalog(copy_path)
    for left, right in ((table, sky.frame), (catalog, copy_path), (catalog, catalog)):
        with pytest.raises(UsageError, match="'lsdb' is for a table on the left and a copy on the right"):
            crossmatch(left, right, engine="lsdb")
    assert crossmatch(table, catalog, engine="lsdb").equals(crossmatch(table, copy_path, engine="lsdb"))
    assert len(crossmatch(table, sky.frame, engine="resident")) == 5


def test_empty_tables(copy_path, sky):
    for right in (copy_path, sky.frame):
        for table in (
            pa.table({"ra": pa.array([], "f8"), "dec": pa.array([], "f8")}),
            Table({"ra": [0.0], "dec": [0.0]})[:0],
        ):
            assert len(crossmatch(table, right, RADIUS)) == 0
    empty = sky.frame[:0]
    assert crossmatch(pa.table({"ra": [1.0], "dec": [1.0]}), empty, 1.0)["_status"].to_pylist() == ["unmatched"]
