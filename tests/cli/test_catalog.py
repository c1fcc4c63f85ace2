"""``xmatch-hats catalog``, as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.csv as pa_csv
import pytest

from tests.copies import make_copy, sky_table
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.cli.app import run


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "stars.csv"
    pa_csv.write_csv(sky_table(500, 1), path)
    return path


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    return make_copy(sky_table(500, 1), tmp_path_factory.mktemp("cli") / "sky").path


def test_import_verify_and_info(source, tmp_path, capsys):
    out = tmp_path / "stars"
    assert run(["catalog", "import", str(source), "--coverage", "all-sky", "--margin", "20", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "side copy 0.0 MB" in told.out
    assert f"{out}: 500 rows in" in told.out
    assert "margin 20 arcsec, coverage all-sky" in told.out
    assert "no definition fits" in told.err
    assert run(["catalog", "verify", str(out)]) == 0
    assert f"{out}: passed" in capsys.readouterr().out
    assert run(["catalog", "info", str(out)]) == 0
    text = capsys.readouterr().out
    assert "all-sky, 100.0000% of the sky" in text
    assert "ties by _row" in text
    assert str(source) in text


def test_info_as_json_tells_columns_and_an_estimated_coverage(copy, capsys):
    assert run(["catalog", "info", str(copy), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 500
    assert told["coverage"]["estimated"] is True
    assert [column["name"] for column in told["columns"]] == ["ra", "dec", "source_id", "flux", "_row"]
    assert told["columns"][-1]["description"].startswith("Row number")
    assert told["bytes"] == sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())
    assert run(["catalog", "info", str(copy)]) == 0
    assert "estimated" in capsys.readouterr().out


def test_info_tells_what_to_cite(made, copy, capsys):
    assert run(["catalog", "info", str(made.copy)]) == 0
    assert "\ncitation    Cite Wright et al. 2010 (AJ 140, 1868), " in capsys.readouterr().out
    assert run(["catalog", "info", str(copy)]) == 0
    assert "citation" not in capsys.readouterr().out


def test_info_of_a_foreign_copy(shared_data, capsys):
    folder = shared_data / "lsdb_oracle" / "small_sky"
    assert run(["catalog", "info", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "not by this program" in text
    assert "none: nothing can be searched across borders" in text


def test_a_flipped_byte_fails_verification(copy, tmp_path, capsys):
    folder = Path(shutil.copytree(copy, tmp_path / "c"))
    path = next(iter(sorted(folder.rglob("Npix=*.parquet"))))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert run(["catalog", "verify", str(folder), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is False
    failed = {check["name"]: check for check in report["checks"] if check["state"] == "failed"}
    assert path.name in failed["checksums"]["places"][0]
    assert run(["catalog", "verify", str(folder)]) == 1
    assert "checksums: " in capsys.readouterr().out


def test_a_side_copy_is_told_of_made_anew_and_removed(copy, tmp_path, capsys):
    shutil.copytree(copy, tmp_path / "sky")
    path = str(tmp_path / "sky")

    def told(*arguments: str, code: int = 0) -> str:
        assert run(["catalog", *arguments]) == code
        return capsys.readouterr().out

    side = json.loads(told("info", path, "--json"))["side_copy"]
    assert side["columns"] == ["_healpix_29", "ra", "dec", "_row", "source_id", "flux"]
    assert side["bytes"] == sum(file.stat().st_size for file in (tmp_path / "sky" / "side_copy").rglob("*.arrow"))
    assert "5 columns of 500 rows" in told("side-copy", path, "--columns", "flux")
    assert "of the size: _healpix_29, ra, dec, _row, flux\n" in told("info", path)
    next((tmp_path / "sky" / "side_copy").rglob("*.arrow")).unlink()
    assert "side-copy: side_copy/" in told("verify", path, code=1)
    assert "6 columns of 500 rows" in told("side-copy", path, "--columns", "all")
    assert f"{path}: passed" in told("verify", path)
    described = tmp_path / "sky" / "side_copy" / "side_copy.json"
    described.write_text("{}")
    assert "`xmatch-hats catalog side-copy` makes it anew" in told("info", path)
    assert "has no side copy" in told("side-copy", path, "--remove")
    assert json.loads(told("info", path, "--json"))["side_copy"] is None
    assert "side copy   none" in told("info", path)


def test_a_side_copy_has_what_streams_ask_for(made, capsys):
    definition = open_copy(made.copy).definition
    assert run(["catalog", "info", str(made.copy), "--json"]) == 0
    side = json.loads(capsys.readouterr().out)["side_copy"]
    assert set(side["columns"]) == {"_healpix_29", "cntr", *definition.xmatch_columns}


def test_names_versions_and_use(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    assert run(["catalog", "list"]) == 0
    assert "no catalogues under" in capsys.readouterr().out
    assert run(["catalog", "import", str(source), "--as", "stars@v1", "--no-side-copy"]) == 0
    told = capsys.readouterr().out
    assert "stars is now at version v1" in told
    assert "side copy" not in told
    assert run(["catalog", "import", str(source), "--as", "stars"]) == 0
    assert "it waits: `xmatch-hats catalog use stars 2" in capsys.readouterr().out
    assert open_copy("stars").name == "stars"
    assert run(["catalog", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["version"], row["current"]) for row in rows][-1] == ("v1", True)
    later = next(row["version"] for row in rows if not row["current"])
    assert run(["catalog", "use", "stars", later]) == 0
    assert run(["catalog", "verify", "stars", "--no-checksums"]) == 0
    assert run(["catalog", "list"]) == 0
    capsys.readouterr()
    (tmp_path / "root" / "stars" / "v1" / "xmatch_hats.json").write_text("{")
    assert run(["catalog", "list"]) == 0
    assert "is not a manifest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["import", "SOURCE"], 2, "say where the copy goes, once"),
        (["import", "SOURCE", "--out", "x", "--as", "y"], 2, "say where the copy goes, once"),
        (["import", "SOURCE", "--as", "../x"], 2, "cannot be the name"),
        (["import", "SOURCE", "--out", "x", "--columns", "all,ra"], 2, "all alone"),
        (["import", "SOURCE", "--out", "x", "--columns", "flx"], 1, "near names: flux"),
        (["import", "SOURCE", "--out", "x", "--definition", "nope"], 1, "no definition is named"),
        (["import", "/nope.csv", "--out", "x"], 1, "there is no such file"),
        (["info", "nothing-of-this-name"], 1, "no catalogue is named"),
        (["verify", "/nope"], 1, "/nope"),
        (["use", "nothing", "v1"], 1, "no catalogue is named"),
        (["side-copy", "nothing"], 1, "no catalogue is named"),
        (["side-copy", "COPY", "--columns", "flx"], 1, "near names: flux"),
        (["side-copy", "COPY", "--columns", "flux", "--remove"], 2, "either --columns or --remove"),
    ],
)
def test_mistakes_are_told_in_a_line(source, copy, tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    paths = {"SOURCE": str(source), "COPY": str(copy)}
    assert run(["catalog", *(paths.get(part, part) for part in arguments)]) == code
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("verb", ["import", "pull", "verify", "info", "list", "use", "side-copy"])
def test_every_verb_shows_an_example(verb, capsys):
    assert run(["catalog", verb, "--help"]) == 0
    assert f"xmatch-hats catalog {verb}" in capsys.readouterr().out
