from __future__ import annotations

import csv
import io
import json

import pytest

from tests.images.reader import read
from tests.images.skies import header, inside, write_tile
from xmatch_hats.cli.app import run

SIZE = (500, 400)


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sky").symlink_to(made.copy)
    for number, ra in ((51, 0.02), (52, 359.8), (53, 5.0)):
        write_tile(tmp_path / f"CFIS_image-{number}.fits", tile(ra), SIZE)
    return tmp_path


def tile(ra):
    return header(ra, -0.03, crpix=(250.0, 200.0), angle=20.0, kind="SIP")


def test_files_and_a_table_of_them(folder, made, capsys):
    words = ["star-cat", "CFIS_image-51.fits", "CFIS_image-52.fits", "--catalog", "wise=sky", "--out", "cats"]
    assert run(words) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert err == ""
    assert [row["file"] for row in rows] == ["star_cat-51.cat", "star_cat-52.cat"]
    for row, ra in zip(rows, (0.02, 359.8), strict=True):
        text = (folder / "cats" / row["file"]).read_text()
        surely, maybe = inside(made.sky, tile(ra), SIZE)
        assert len(surely) <= len(read(text)) == int(row["rows"]) <= len(maybe)
        assert "stars of wise in CFIS_image" in text
        assert "Nmag w1mpro+2.7; Clas 0: ext_flg < 2" in text
    assert run(words) == 0
    assert [row["outcome"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["kept", "kept"]


def test_what_lies_outside_has_no_file_and_is_told(folder, capsys):
    words = ["star-cat", "CFIS_image-51.fits", "CFIS_image-53.fits", "--catalog", "sky", "--out", "cats"]
    assert run([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["complete"] is False
    assert [file["outcome"] for file in told["files"]] == ["written", "not wholly inside the coverage"]
    assert [path.name for path in (folder / "cats").iterdir()] == ["star_cat-51.cat"]
    assert run(words) == 1
    assert "no file for 1 image: the image is not wholly inside the coverage" in capsys.readouterr().err
    assert run([*words, "--allow-partial", "--prefix", "s", "--magnitudes", "Vmag=w2mpro"]) == 0
    assert sorted(path.name for path in (folder / "cats").iterdir()) == ["s-51.cat", "s-53.cat", "star_cat-51.cat"]
    assert "PARTIAL" in (folder / "cats" / "s-53.cat").read_text()


def test_a_copy_without_preset_needs_magnitudes(folder, plain_copy, capsys):
    words = ["star-cat", "CFIS_image-51.fits", "--catalog", str(plain_copy), "--out", "cats"]
    assert run(words) == 2
    assert "nothing says which columns of" in capsys.readouterr().err
    assert run([*words, "--magnitudes", "Fmag=flux,Vmag=flux+1", "--stars", "flux > 0"]) == 0
