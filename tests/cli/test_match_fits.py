from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from astropy.table import Table

from tests.images.ldac import write_ldac
from tests.oracle import brute_force
from xmatch_hats.cli.app import run


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sky").symlink_to(made.copy)
    for number, part in ((51, slice(0, 200)), (52, slice(200, 400))):
        columns = {"X_WORLD": made.ra[part], "Y_WORLD": made.dec[part], "MAG_AUTO": np.full(200, 20.0, "f4")}
        write_ldac(tmp_path / f"sexcat-{number}.fits", columns)
    return tmp_path


WORDS = ["match-fits", "sexcat-51.fits", "sexcat-52.fits", "--catalog", "wise=sky", "--radius", "1.5", "--out", "m"]


def expected(made):
    return brute_force(made.ra, made.dec, made.sky["ra"].to_numpy(), made.sky["dec"].to_numpy(), 1.5, k=1)


def test_files_and_a_table_of_them(folder, made, capsys):
    assert run([*WORDS, "--columns", "designation,W1mag"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["file"] for row in rows] == ["cat_matched-51.fits", "cat_matched-52.fits"]
    pairs = expected(made)
    for row, first in zip(rows, (0, 200), strict=True):
        data = Table.read(folder / "m" / row["file"], hdu="MATCHED")
        mine = (pairs.left >= first) & (pairs.left < first + 200)
        assert (data["NUMBER"] - 1 + first).tolist() == pairs.left[mine].tolist()
        assert [str(name).strip() for name in data["designation"]] == made.designations[pairs.right[mine]].tolist()
        np.testing.assert_allclose(data["distance"], pairs.sep_arcsec[mine], rtol=0, atol=1e-8)
        assert data.colnames[-3:] == ["designation", "w1mpro", "distance"]
        assert int(row["rows"]) == int(row["matched"]) == len(data)
        assert sum(int(row[key]) for key in ("matched", "unmatched", "outside_coverage", "rejected")) == 200
    outside = sum(int(row["outside_coverage"]) for row in rows)
    assert outside > 0
    assert err == (
        f"{outside} rows outside the coverage of wise, where it is not known whether anything matches: left out\n"
    )
    assert run(WORDS) == 0
    assert [row["outcome"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["kept", "kept"]


def test_all_rows_as_json(folder, made, capsys):
    assert run([*WORDS, "--keep-unmatched", "--prefix", "all", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["complete"], told["in"], told["catalog"], told["radius_arcsec"]) == (True, 400, "wise", 1.5)
    assert told["matched"] == len(expected(made))
    assert told["matched"] + told["unmatched"] + told["outside_coverage"] + told["rejected"] == 400
    assert [file["rows"] for file in told["files"]] == [200, 200]
    assert sorted(path.name for path in (folder / "m").iterdir()) == ["all-51.fits", "all-52.fits"]


def test_tables_that_are_none_are_listed_and_the_others_go_on(folder, capsys):
    (folder / "psf-53.sqlite").write_bytes(b"SQLite format 3\0")
    words = [*WORDS[:2], "psf-53.sqlite", *WORDS[3:]]
    assert run(words) == 1
    out, err = capsys.readouterr()
    assert [row["outcome"] for row in csv.DictReader(io.StringIO(out))] == ["written", "not matched"]
    assert "no file for psf-53.sqlite: psf-53.sqlite: is an SQLite file" in err
    assert run([*words, "--json", "--overwrite"]) == 1
    assert json.loads(capsys.readouterr().out)["complete"] is False


def test_a_selection_without_rows_has_no_pictures_and_says_so(folder, capsys):
    words = ["fits-stats", "sexcat-51.fits", "sexcat-52.fits", "--select", "MAG_AUTO < 0", "--out", "s"]
    assert run(words) == 0
    assert capsys.readouterr().err == "no pictures of 2 tables: no row is selected\n"
    assert sorted(path.name for path in (folder / "s").iterdir()) == ["stat-51.txt", "stat-52.txt"]
    for more in (["--no-pictures"], ["--json"]):
        assert run([*words, "--overwrite", *more]) == 0
        assert capsys.readouterr().err == ""


def test_statistics_of_what_was_matched(folder, made, capsys):
    assert run([*WORDS, "--keep-unmatched"]) == 0
    capsys.readouterr()
    words = ["fits-stats", "m/cat_matched-51.fits", "m/cat_matched-52.fits", "--select", "status == 'matched'"]
    assert run([*words, "--out", "s", "--json", "--no-pictures"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"] is True
    assert sum(file["selected"] for file in told["files"]) == len(expected(made))
    numbers = told["files"][0]["numbers"]
    assert "MAG_AUTO - w1mpro" in numbers
    assert abs(numbers["distance"]["mean"]) < 1.5
    assert run([*words, "--out", "p", "--columns", "w2mpro,w3mpro"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["file"] for row in rows] == ["stat-51.txt", "stat-52.txt"]
    assert "Mean w2mpro (mag) = " in (folder / "p" / "stat-51.txt").read_text()
    kinds = ("magnitudes", "map", "colours", "offsets")
    assert {path.name for path in (folder / "p").iterdir()} == {
        *(f"stat-{n}.txt" for n in (51, 52)), *(f"stat_{kind}-{n}.png" for kind in kinds for n in (51, 52))
    }  # fmt: skip
