from __future__ import annotations

import csv
import io
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.oracle import brute_force
from xmatch_hats.cli import console
from xmatch_hats.cli.app import run
from xmatch_hats.errors import UsageError
from xmatch_hats.tables.read import open_table


def printed(capsys):
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def oracle(made, ra, dec, radius):
    return brute_force([ra], [dec], made.sky["ra"].to_numpy(), made.sky["dec"].to_numpy(), radius)


def test_cone_prints_csv_into_a_pipe_nearest_first(made, capsys):
    assert run(["cone", "0.01", "-0.02", "300", "--catalog", str(made.copy)]) == 0
    rows = printed(capsys)
    expected = oracle(made, 0.01, -0.02, 300)
    assert [row["designation"] for row in rows] == made.designations[expected.right].tolist()
    assert [float(row["_dist_arcsec"]) for row in rows] == pytest.approx(expected.sep_arcsec.tolist(), abs=1e-9)
    assert [int(row["cntr"]) for row in rows] == made.sky["cntr"].to_numpy()[expected.right].tolist()
    assert len(rows) > 20


@pytest.mark.parametrize(
    "order",
    [
        "cone 0.01 -0.02 60 --catalog C",
        "cone --catalog C 0.01 -0.02 60",
        "cone --catalog C -- 0.01 -0.02 60",
        "cone 0.01 --catalog C -0.02 60",
        "cone 0.01 --catalog=C -0.02 60",
    ],
)
def test_options_stand_anywhere(made, order, capsys):
    assert run([word.replace("C", str(made.copy)) for word in order.split()]) == 0
    rows = printed(capsys)
    assert [r["designation"] for r in rows] == made.designations[oracle(made, 0.01, -0.02, 60).right].tolist()


def test_negative_positions_need_no_dashes(made, capsys):
    for ra in ("-0.1", "359.9"):
        assert run(["cone", ra, "-.3", "200", "--catalog", str(made.copy), "--columns", "AllWISE,w1mpro"]) == 0
        rows = printed(capsys)
        assert list(rows[0]) == ["designation", "w1mpro", "_dist_arcsec"]
        assert [r["designation"] for r in rows] == made.designations[oracle(made, -0.1, -0.3, 200).right].tolist()


@pytest.mark.parametrize("suffix", ["csv", "fits", "vot", "ecsv", "parquet"])
def test_every_table_format_out(made, tmp_path, suffix, capsys):
    out = tmp_path / f"o.{suffix}"
    assert run(["cone", "0", "0", "400", "--catalog", str(made.copy), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    table = open_table(out).read()
    expected = oracle(made, 0, 0, 400)
    assert table["designation"].to_pylist() == made.designations[expected.right].tolist()
    assert table["cntr"].to_pylist() == made.sky["cntr"].to_numpy()[expected.right].tolist()
    assert captured.out == ""
    assert f"{len(expected):,} rows written to {out}" in captured.err


def test_box_goes_through_ra_0(made, capsys):
    assert run(["box", "359.8", "0.1", "-0.2", "-0.1", "--catalog", str(made.copy)]) == 0
    ra, dec = made.sky["ra"].to_numpy(), made.sky["dec"].to_numpy()
    inside = ((ra >= 359.8) | (ra <= 0.1)) & (dec >= -0.2) & (dec <= -0.1)
    rows = printed(capsys)
    assert sorted(row["designation"] for row in rows) == sorted(made.designations[inside])
    assert "_dist_arcsec" not in rows[0]


def test_box_goes_by_healpix(made, tmp_path):
    from xmatch_hats.healpix import cells_of

    out = tmp_path / "o.parquet"
    assert run(["box", "359", "1", "-1", "1", "--catalog", str(made.copy), "--out", str(out)]) == 0
    table = pq.read_table(out)
    assert table.num_rows == made.sky.num_rows
    assert (np.diff(cells_of(table["ra"].to_numpy(), table["dec"].to_numpy())) >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "noted"),
    [
        (["cone", "0", "0", "60"], False),
        (["cone", "0", "0.49", "120"], True),
        (["box", "359.9", "0.1", "-0.1", "0.1"], False),
        (["box", "0.3", "0.7", "-0.1", "0.1"], True),
    ],
)
def test_what_the_copy_does_not_cover_is_said(made, arguments, noted, capsys):
    assert run([*arguments, "--catalog", str(made.copy)]) == 0
    assert ("may reach beyond what the copy holds" in capsys.readouterr().err) is noted


def test_nothing_found_is_a_header(made, capsys):
    assert run(["cone", "180", "45", "10", "--catalog", str(made.copy)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("_dist_arcsec")


def test_a_terminal_gets_a_table_that_fits(made, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(console, "MAX_ROWS_SHOWN", 3)
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["cone", "0", "0", "400", "--catalog", str(made.copy)]) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 100
    assert "_dist_arcsec" in lines[1]
    assert "designation" in lines[1]
    assert sum("│ J" in line for line in lines) == 3
    assert "more rows" in lines[-1]
    assert "more columns" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["cone", "0", "95", "10"], 2, "declination outside"),
        (["cone", "0", "-90.0000001", "10"], 2, "centre 0.0 -90.0000001: declination outside"),
        (["cone", "0", "0", "648000.01"], 2, "648000.01 arcsec"),
        (["cone", "0", "0", "-1"], 2, "-1 arcsec is not above 0"),
        (["cone", "0", "0", "700000"], 2, "180 degrees"),
        (["box", "0", "1", "2", "1"], 2, "the box is empty"),
        (["cone", "0", "0", "10", "--columns", "w9mpro"], 1, "no column w9mpro"),
        (["cone", "0", "0", "10", "--out", "/no/such/folder/o.csv"], 2, "folder of the output does not exist"),
    ],
)
def test_wrong_use_is_told(made, arguments, code, told, capsys):
    assert run([*arguments, "--catalog", str(made.copy)]) == code
    captured = capsys.readouterr()
    assert told in captured.err
    assert len(captured.err.strip().splitlines()) <= 2
    assert captured.out == ""


def test_an_output_is_not_replaced_unasked(made, tmp_path, capsys):
    out = tmp_path / "o.csv"
    out.write_text("mine")
    arguments = ["cone", "0", "0", "60", "--catalog", str(made.copy), "--out", str(out)]
    assert run(arguments) == 2
    assert "exists" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert run([*arguments, "--overwrite"]) == 0
    assert out.read_text().startswith("designation")


def test_a_copy_without_definition(plain_copy, capsys, monkeypatch):
    assert run(["cone", "100", "-30", "36000", "--catalog", str(plain_copy)]) == 0
    assert len(printed(capsys)) > 5


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot be written to"):
        console.check_output(tmp_path / "o.csv", overwrite=False)
