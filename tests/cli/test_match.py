from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from tests.copies import make_copy
from tests.oracle import brute_force
from xmatch_hats.cli.app import run
from xmatch_hats.tables.metadata import text_of
from xmatch_hats.tables.read import open_table
from xmatch_hats.tables.write import write_table


@pytest.fixture(scope="module")
def positions(made) -> pa.Table:
    """Positions with an id that no float holds, a label, and two rows that are no positions."""
    ra, dec = made.ra.copy(), made.dec.copy()
    ra[7], dec[11] = np.nan, 91.0
    ids = np.arange(len(ra), dtype=np.int64) + 2**53 + 1
    fields = [
        pa.field("id", pa.int64()),
        pa.field("ra", pa.float64(), metadata={b"unit": b"deg", b"ucd": b"pos.eq.ra;meta.main"}),
        pa.field("dec", pa.float64(), metadata={b"unit": b"deg", b"ucd": b"pos.eq.dec;meta.main"}),
        pa.field("flux", pa.float32(), metadata={b"unit": b"Jy", b"ucd": b"phot.flux"}),
    ]
    return pa.table([ids, ra, dec, np.linspace(0, 1, len(ra), dtype=np.float32)], schema=pa.schema(fields))


def oracle(made, radius, **kwargs):
    ra, dec = made.ra.copy(), made.dec.copy()
    ra[[7, 11]], dec[[7, 11]] = 180.0, 0.0
    sky = made.sky
    return brute_force(
        ra, dec, sky["ra"].to_numpy(), sky["dec"].to_numpy(), radius, ids=sky["cntr"].to_numpy(), **kwargs
    )


def match(source, out, *arguments, catalog, radius="1"):
    return run(["match", str(source), "--catalog", str(catalog), "--radius", radius, "--out", str(out), *arguments])


@pytest.fixture(scope="module")
def source(positions, tmp_path_factory):
    path = tmp_path_factory.mktemp("positions") / "p.parquet"
    pq.write_table(positions, path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "fits", "vot", "ecsv", "parquet"])
def test_every_table_format_in_and_out(made, positions, tmp_path, suffix, capsys):
    given, out = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    write_table(positions, given)
    assert match(given, out, catalog=made.copy) == 0
    table = open_table(out).read()
    expected = oracle(made, 1.0, k=1)
    right = np.full(len(made.ra), -1)
    right[expected.left] = expected.right
    assert table["id"].to_pylist() == positions["id"].to_pylist()
    names = [None if row < 0 else made.designations[row] for row in right]
    assert [name or None for name in table["designation"].to_pylist()] == names
    cntr = made.sky["cntr"].to_pylist()
    assert table["cntr"].to_pylist() == [None if row < 0 else cntr[row] for row in right]
    statuses = np.array(table["_status"].to_pylist())
    assert (statuses == "matched").tolist() == (right >= 0).tolist()
    assert np.flatnonzero(statuses == "rejected").tolist() == [7, 11]
    assert {"unmatched", "outside-coverage"} <= set(statuses)
    distance = table["_dist_arcsec"].to_numpy()[expected.left]
    np.testing.assert_allclose(distance, expected.sep_arcsec, atol=1e-9, rtol=0)
    if suffix != "csv":
        assert text_of(table.schema.field("flux"), "unit") == "Jy"
        assert text_of(table.schema.field("flux"), "ucd") == "phot.flux"
        assert text_of(table.schema.field("w1mpro"), "unit") == "mag"
        assert text_of(table.schema.field("_dist_arcsec"), "unit") == "arcsec"
    told = capsys.readouterr().err
    assert "sky: 400 positions" in told or "allwise: 400 positions" in told
    assert "kept with _status rejected: right ascension is missing" in told


def test_overlapping_names_get_the_catalogue_s_name(made, source, tmp_path):
    out = tmp_path / "o.parquet"
    assert run(["match", str(source), "--catalog", f"w={made.copy}", "--radius", "1", "--out", str(out)]) == 0
    names = pq.read_schema(out).names
    assert names[:4] == ["id", "ra", "dec", "flux"]
    assert {"ra_w", "dec_w", "designation"} <= set(names)
    assert names[-2:] == ["_dist_arcsec", "_status"]


@pytest.mark.parametrize(
    ("arguments", "oracle_arguments"),
    [
        (["--all"], {}),
        (["--neighbors", "3"], {"k": 3}),
        (["--neighbors", "1"], {"k": 1}),
        (["--all", "--min-radius", "4"], {"min_radius_arcsec": 4.0}),
        (["--min-radius", "2.5"], {"k": 1, "min_radius_arcsec": 2.5}),
    ],
)
def test_neighbours_equal_brute_force(made, source, tmp_path, arguments, oracle_arguments):
    out = tmp_path / "o.parquet"
    assert match(source, out, "--join", "inner", *arguments, catalog=made.copy, radius="9") == 0
    table, expected = pq.read_table(out), oracle(made, 9.0, **oracle_arguments)
    assert len(expected) > 20
    assert (table["id"].to_numpy() - 2**53 - 1).tolist() == expected.left.tolist()
    assert table["designation"].to_pylist() == made.designations[expected.right].tolist()
    assert set(table["_status"].to_pylist()) == {"matched"}
    if arguments[0] == "--all" or arguments[1] == "3":
        first = np.r_[0, np.flatnonzero(np.diff(expected.left)) + 1]
        rank = np.arange(len(expected)) - np.repeat(first, np.diff(np.r_[first, len(expected)])) + 1
        assert table["_rank"].to_pylist() == rank.tolist()
    else:
        assert "_rank" not in table.column_names


def test_vizier_names_and_columns(made, source, tmp_path):
    out = tmp_path / "o.parquet"
    arguments = ["--names", "vizier", "--columns", "designation,ra", "--columns", "Jmag"]
    assert match(source, out, *arguments, catalog=made.copy) == 0
    added = ["AllWISE", "RAJ2000", "Jmag", "_dist_arcsec", "_status"]
    assert pq.read_schema(out).names == ["id", "ra", "dec", "flux", *added]


def test_several_catalogues(made, plain_copy, source, tmp_path, capsys):
    out = tmp_path / "o.parquet"
    catalogs = ["--catalog", f"w={made.copy}", "--catalog", str(plain_copy)]
    assert run(["match", str(source), *catalogs, "--radius", "2", "--out", str(out), "--json"]) == 0
    names = pq.read_schema(out).names
    assert {"_dist_arcsec_w", "_status_w", "_dist_arcsec_plain", "_status_plain"} <= set(names)
    captured = capsys.readouterr()
    counts = json.loads(captured.out)
    statuses = ("matched", "unmatched", "outside_coverage", "rejected")
    assert sum(counts[status] for status in statuses) == counts["in"] == counts["rows"] == 400
    assert counts["catalogs"].keys() == {"w", "plain"}
    assert counts["catalogs"]["plain"]["outside_coverage"] == 0
    assert counts["rejected"] == 2
    assert captured.err == ""


def test_coordinates_by_name_by_ucd_and_by_hand(made, positions, tmp_path):
    plain = pa.table({"X": positions["ra"], "Y": positions["dec"]})
    by_ucd = plain.cast(
        pa.schema(
            [
                pa.field("X", pa.float64(), metadata={b"ucd": b"pos.eq.ra;meta.main"}),
                pa.field("Y", pa.float64(), metadata={b"ucd": b"pos.eq.dec;meta.main"}),
            ]
        )
    )
    sextractor = plain.rename_columns(["ALPHA_J2000", "DELTA_J2000"])
    write_table(by_ucd, tmp_path / "ucd.vot")
    write_table(sextractor, tmp_path / "sex.csv")
    write_table(plain, tmp_path / "hand.csv")
    answers = []
    for name, arguments in (("ucd.vot", []), ("sex.csv", []), ("hand.csv", ["--ra", "X", "--dec", "Y"])):
        out = tmp_path / f"{name}.parquet"
        assert match(tmp_path / name, out, *arguments, catalog=made.copy) == 0
        answers.append(pq.read_table(out)["cntr"].to_pylist())
    assert answers[0] == answers[1] == answers[2]
    assert sum(value is not None for value in answers[0]) == len(oracle(made, 1.0, k=1))


def test_fits_ldac(made, positions, tmp_path):
    """SExtractor's form: a table of header cards comes first, the sources are in the second table."""
    cards = np.array([("SIMPLE  =                    T",)], dtype=[("Field Header Card", "S80")])
    sources = Table({"XWIN_WORLD": positions["ra"].to_numpy(), "YWIN_WORLD": positions["dec"].to_numpy()})
    header, objects = fits.BinTableHDU(cards, name="LDAC_IMHEAD"), fits.BinTableHDU(sources, name="LDAC_OBJECTS")
    fits.HDUList([fits.PrimaryHDU(), header, objects]).writeto(tmp_path / "s.cat")
    for arguments in ([], ["--hdu", "2"]):
        out = tmp_path / f"o{len(arguments)}.fits"
        assert match(tmp_path / "s.cat", out, *arguments, catalog=made.copy) == 0
        matched = sum(status.strip() == "matched" for status in Table.read(out)["_status"].astype(str))
        assert matched == len(oracle(made, 1.0, k=1))


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("suffix", ["csv", "fits", "vot", "ecsv", "parquet"])
def test_tables_of_no_and_one_row(made, positions, tmp_path, rows, suffix):
    given, out = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    write_table(positions.slice(0, rows), given)
    assert match(given, out, catalog=made.copy) == 0
    table = open_table(out).read()
    assert table.num_rows == rows
    assert table.column_names[:4] == positions.column_names
    assert table.column_names[-1] == "_status"


def test_an_inner_join_without_matches_is_a_table_without_rows(made, positions, tmp_path):
    unmatched = positions.filter(pa.array(~np.isin(np.arange(400), oracle(made, 1.0).left)))
    pq.write_table(unmatched, tmp_path / "in.parquet")
    assert match(tmp_path / "in.parquet", tmp_path / "o.fits", "--join", "inner", catalog=made.copy) == 0
    table = open_table(tmp_path / "o.fits").read()
    assert table.num_rows == 0
    assert text_of(table.schema.field("w1mpro"), "unit") == "mag"


def test_the_output_goes_by_the_input_s_order_for_any_workers(made, source, tmp_path, dask_client):
    alone, shared = tmp_path / "alone.parquet", tmp_path / "shared.parquet"
    assert match(source, alone, "--workers", "0", catalog=made.copy) == 0
    assert match(source, shared, "--scheduler", dask_client.scheduler.address, catalog=made.copy) == 0
    # Among the input's positions is a NaN, which equals nothing.
    first, second = (pq.read_table(path).drop_columns(["ra", "dec"]) for path in (alone, shared))
    assert first.equals(second)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--neighbors", "2", "--all"], 2, "exclude each other"),
        (["--ra", "ra"], 2, "only one coordinate column"),
        (["--ra", "flux", "--dec", "nope"], 1, "no column 'nope'"),
        (["--radius", "0"], 2, "radius"),
        (["--radius", "60"], 2, "margin"),
        (["--radius", "10.0000001"], 2, "radius of 10.0000001 arcsec"),
        (["--out", "x" * 300 + ".csv"], 1, "File name too long"),
        (["--columns", "w9mpro"], 1, "no column w9mpro"),
        (["--out", "o.doc"], 1, "o.doc"),
        (["--hdu", "1"], 1, "HDU"),
    ],
)
def test_wrong_use_is_told(made, source, tmp_path, monkeypatch, arguments, code, told, capsys):
    monkeypatch.chdir(tmp_path)
    assert match(source, tmp_path / "o.csv", *arguments, catalog=made.copy) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_the_input_is_never_replaced(made, tmp_path, overwrite, capsys):
    (tmp_path / "t.csv").write_text("ra,dec\n1,2\n")
    (tmp_path / "link.csv").symlink_to("t.csv")
    for out in ("t.csv", "link.csv"):
        assert match(tmp_path / "t.csv", tmp_path / out, *overwrite, catalog=made.copy) == 2
        assert f"{out}: the output would replace its input (choose another --out)" in capsys.readouterr().err
    assert (tmp_path / "t.csv").read_text() == "ra,dec\n1,2\n"


@pytest.mark.parametrize("arguments", [["--all"], ["--neighbors", "2"]])
def test_several_neighbours_of_several_catalogues_are_refused(made, plain_copy, source, tmp_path, arguments, capsys):
    assert match(source, tmp_path / "o.csv", "--catalog", str(plain_copy), *arguments, catalog=made.copy) == 2
    assert "one catalogue at a time" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["o.doc", "o", "o.tbl", "o.parquet.gz"])
def test_an_output_without_a_format_is_refused_before_the_work(source, tmp_path, name, capsys):
    # The catalogue is not even looked for.
    assert match(source, tmp_path / name, catalog=tmp_path / "nothing") == 1
    assert name in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_name_twice_is_refused(made, source, tmp_path, capsys):
    assert match(source, tmp_path / "o.csv", "--catalog", str(made.copy), catalog=made.copy) == 2
    assert "two catalogues are named allwise" in capsys.readouterr().err


def test_vizier_names_of_a_copy_without_definition_are_refused(plain_copy, source, tmp_path, capsys):
    assert match(source, tmp_path / "o.csv", "--names", "vizier", catalog=plain_copy) == 2
    assert "no VizieR names are known of plain" in capsys.readouterr().err


def test_no_input_and_no_coordinates(made, tmp_path, capsys):
    assert match(tmp_path / "nothing.csv", tmp_path / "o.csv", catalog=made.copy) == 1
    assert "nothing.csv" in capsys.readouterr().err
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    assert match(tmp_path / "odd.csv", tmp_path / "o.csv", catalog=made.copy) == 1
    assert "odd.csv" in capsys.readouterr().err


def test_an_estimated_coverage_is_told_where_positions_fall_outside_of_it(made, source, tmp_path, capsys):
    estimated = make_copy(made.sky, tmp_path / "estimated", coverage="rows")
    assert match(source, tmp_path / "o.csv", catalog=estimated.path) == 0
    assert "note: the coverage of allwise is estimated from its rows" in capsys.readouterr().err
    # Everything that matches lies inside, and a recorded coverage is nobody's guess.
    inside = tmp_path / "inside.parquet"
    pq.write_table(made.sky.select(["ra", "dec"]).slice(0, 50), inside)
    assert match(inside, tmp_path / "i.csv", catalog=estimated.path) == 0
    assert match(source, tmp_path / "r.csv", catalog=made.copy) == 0
    assert "estimated from" not in capsys.readouterr().err
