"""The stand-in for the program that mask modules ask for stars, called as they call it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.images.reader import read
from tests.oracle import brute_force
from xmatch_hats.cli.findgsc import answer

HERE = Path(__file__).parents[2]


@pytest.fixture
def here(made, plain_copy, monkeypatch, tmp_path):
    monkeypatch.setenv("XMATCH_HATS_STAR_CATALOG", str(made.copy))
    monkeypatch.setenv("XMATCH_HATS_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    for name in ("MAGNITUDES", "CONDITION", "FAINT"):
        monkeypatch.delenv(f"XMATCH_HATS_STAR_{name}", raising=False)
    return tmp_path


def positions(text):
    return [(row["RA(J2000)"], row["Dec(J2000)"]) for row in read(text)]


def expected(made, ra, dec, arcmin):
    right = brute_force([ra], [dec], made.sky["ra"].to_numpy(), made.sky["dec"].to_numpy(), arcmin * 60.0).right
    return list(zip(made.sky["ra"].to_numpy()[right] % 360.0, made.sky["dec"].to_numpy()[right], strict=True))


@pytest.mark.parametrize(
    ("words", "ra", "dec"),
    [
        (["0.01", "+0.02", "-r", "6", "-n", "1000000"], 0.01, 0.02),
        (["359.9", "-0.1", "-r", "6", "-n", "1000000"], 359.9, -0.1),
        (["-r", "6", "0.01-0.02"], 0.01, -0.02),
        (["0.01 -1e-05", "-r6"], 0.01, -1e-05),
    ],
)
def test_every_star_of_the_disc_the_nearest_first(here, made, words, ra, dec):
    code, text = answer(words)
    assert code == 0
    assert np.allclose(positions(text), expected(made, ra, dec, 6), rtol=0, atol=1e-9)
    assert len(read(text)) > 10
    assert not (here / "log").exists()


def test_no_more_than_asked_for(here, made):
    code, text = answer(["0.01", "-0.02", "-r", "10", "-n", "7"])
    assert code == 0
    assert np.allclose(positions(text), expected(made, 0.01, -0.02, 10)[:7], rtol=0, atol=1e-9)
    assert "the nearest 7 of them" in text.split("\n")[0]


def test_an_empty_field_is_a_catalogue_without_rows(here):
    assert answer(["0.01", "-0.02", "-r", "0.001"])[0] == 0
    assert read(answer(["0.01", "-0.02", "-r", "0.001"])[1]) == []


def test_magnitudes_of_the_definition_and_of_the_environment(here, made, monkeypatch):
    plain = read(answer(["0.01", "-0.02", "-r", "6"])[1])
    assert all(row["Vmag"] is None for row in plain)
    w1mpro = dict(zip(np.round(made.sky["dec"].to_numpy(), 9), made.sky["w1mpro"].to_numpy(), strict=True))
    assert all(abs(row["Nmag"] - 2.7 - w1mpro[round(row["Dec(J2000)"], 9)]) < 1e-3 for row in plain if row["Nmag"])
    monkeypatch.setenv("XMATCH_HATS_STAR_MAGNITUDES", "Vmag=W2mag-1")
    monkeypatch.setenv("XMATCH_HATS_STAR_CONDITION", "w1mpro < 15")
    monkeypatch.setenv("XMATCH_HATS_STAR_FAINT", "14.5")
    other = read(answer(["0.01", "-0.02", "-r", "6"])[1])
    assert all(row["Vmag"] <= 14.5 and row["Nmag"] is None for row in other)
    assert {row["Clas"] for row in other} == {0.0, 1.0}


def test_the_configuration_file_names_the_catalogue(here, made, monkeypatch):
    monkeypatch.delenv("XMATCH_HATS_STAR_CATALOG")
    (here / "config.toml").write_text(f'[findgsc]\ncatalog = "{made.copy}"\nfaint = 99.0\n')
    assert answer(["0.01", "-0.02", "-r", "6"])[0] == 0
    (here / "config.toml").write_text(f'[findgsc]\ncatalogue = "{made.copy}"\n')
    code, text = answer(["0.01", "-0.02", "-r", "6"])
    assert code == 1
    assert "has no key catalogue" in text


@pytest.mark.parametrize(("faint", "reason"), [("nan", "faint: nan is no"), ("true", "faint is not a number")])
def test_a_faint_magnitude_that_is_none_is_no_empty_field(here, faint, reason):
    (here / "config.toml").write_text(f"[findgsc]\nfaint = {faint}\n")
    code, text = answer(["0.01", "-0.02", "-r", "6"])
    assert code == 1
    assert reason in text.split("\n")[0]


def test_the_catalogue_may_have_a_name(here, made, monkeypatch):
    monkeypatch.setenv("XMATCH_HATS_STAR_CATALOG", f"wise={made.copy}")
    code, text = answer(["0.01", "-0.02", "-r", "6"])
    assert code == 0
    assert text.startswith("# stars of wise: ")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["180", "45", "-r", "5", "-n", "10"], "does not surely hold the whole disc"),
        (["0.3", "0.49", "-r", "5"], "does not surely hold the whole disc"),
        (["0.01", "-r", "5"], "'0.01' is no position in degrees"),
        (["00:01:02", "+03:04:05", "-r", "5"], "is no position in degrees"),
        (["0.01", "-95", "-r", "5"], "declination outside"),
        (["0.01", "-0.02"], "no radius is given"),
        (["0.01", "-0.02", "-r", "wide"], "the radius 'wide' is no number"),
        (["0.01", "-0.02", "-r", "-3"], "-180 arcsec is not above 0"),
        (["0.01", "-0.02", "-r", "3", "-n", "all"], "'all' is no number of rows"),
        (["0.01", "-0.02", "-r", "3", "--fast"], "no such option: --fast"),
        ([], "is no position in degrees"),
    ],
)
def test_what_fails_is_a_catalogue_that_says_why(here, words, reason):
    code, text = answer(words)
    assert code == 1
    assert read(text) == []
    assert reason in text.split("\n")[0]
    (line,) = (here / "log").read_text().splitlines()
    assert reason in line


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"XMATCH_HATS_STAR_CATALOG": ""}, "no catalogue is named"),
        ({"XMATCH_HATS_STAR_CATALOG": "./nowhere"}, "there is no such folder"),
        ({"XMATCH_HATS_STAR_MAGNITUDES": "Vmag=w1mpr"}, "has no column w1mpr (near names: w1mpro"),
        ({"XMATCH_HATS_STAR_MAGNITUDES": "Gmag=w1mpro"}, "there is no magnitude Gmag"),
        ({"XMATCH_HATS_STAR_CONDITION": "w1mpr < 3"}, "there is no column w1mpr (near names: w1mpro"),
        ({"XMATCH_HATS_STAR_MAGNITUDES": "Vmag=w1mpro+1_0"}, "the offset '1_0' is not a number"),
        ({"XMATCH_HATS_STAR_FAINT": "low"}, "faint is not a number"),
        ({"XMATCH_HATS_STAR_FAINT": "nan"}, "faint is not a number"),
        ({"XMATCH_HATS_STAR_FAINT": "1_5"}, "faint is not a number"),
        ({"XMATCH_HATS_STAR_FAINT": "1e999"}, "faint: inf is no magnitude"),
        ({"XMATCH_HATS_CONFIG": "/nowhere.toml"}, "the configuration file does not exist"),
    ],
)
def test_wrong_settings_are_told(here, monkeypatch, settings, reason):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    code, text = answer(["0.01", "-0.02", "-r", "3"])
    assert (code, read(text)) == (1, [])
    assert reason in text.split("\n")[0]


def test_a_damaged_partition_is_a_failure(here, made, monkeypatch, tmp_path):
    shutil.copytree(made.copy, tmp_path / "bad")
    monkeypatch.setenv("XMATCH_HATS_STAR_CATALOG", str(tmp_path / "bad"))
    for path in (tmp_path / "bad").rglob("Npix=*.parquet"):
        path.write_bytes(b"PAR1 no more")
    code, text = answer(["0.01", "-0.02", "-r", "3"])
    assert code == 1
    assert "cannot be read" in text.split("\n")[0]


@pytest.mark.parametrize("place", ["/nowhere/log", "~nosuchuser/log", "a\0b"])
def test_a_log_that_cannot_be_written_is_no_failure_more(here, monkeypatch, place):
    # An environment itself cannot hold the last one.
    monkeypatch.setattr(os, "environ", {**os.environ, "XMATCH_HATS_LOG": place})
    code, text = answer(["1"])
    assert (code, read(text)) == (1, [])
    assert "is no position" in text.split("\n")[0]


@pytest.mark.parametrize("words", [["-r", "\u0663"], ["-r", "3", "-n", "\u0663"], ["-r", "1_0"]])
def test_numbers_are_those_of_ascii(here, words):
    code, text = answer(["0.01", "-0.02", *words])
    assert (code, read(text)) == (1, [])
    assert "is no number" in text.split("\n")[0]


def test_arguments_that_are_no_text_are_in_the_log(here):
    code, text = answer(["\udcff\udcfe", "3", "-r", "2"])
    assert (code, read(text)) == (1, [])
    assert "\\udcff" in (here / "log").read_text()


def shell(line: str, **settings: str) -> subprocess.CompletedProcess:
    """Run a line in a shell, without any network where the system allows to take it away."""
    there = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])} | settings
    alone = ["unshare", "--map-root-user", "--net"]
    has_none = (
        shutil.which(alone[0]) and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    )
    program = [*(alone if has_none else []), sys.executable, "-m", "xmatch_hats.cli.findgsc"]
    line = line.replace("findgsc", " ".join(program), 1)
    return subprocess.run(line, shell=True, env=there, capture_output=True, text=True, timeout=120, check=False)


def test_in_a_shell(here, made):
    done = shell("findgsc 359.9 -0.1 -r 6 -n 1000000")
    assert (done.returncode, done.stderr) == (0, "")
    assert np.allclose(positions(done.stdout), expected(made, 359.9, -0.1, 6), rtol=0, atol=1e-9)


def test_in_a_shell_an_empty_field_is_a_catalogue_without_rows(here):
    done = shell("findgsc 0.01 -0.02 -r 0.001 -n 1000000", PYTHONWARNINGS="always")
    assert (done.returncode, done.stderr) == (0, "")
    assert read(done.stdout) == []
    assert "0 rows within" in done.stdout.split("\n")[0]
    assert not (here / "log").exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("findgsc 180 +45 -r 6 -n 1000000", "does not surely hold the whole disc"),
        ("findgsc 0.01 -0.02 -r wide -n 1000000", "the radius 'wide' is no number"),
        ("findgsc", "is no position in degrees"),
    ],
)
def test_in_a_shell_failures_are_silent_too(here, line, reason):
    # Python itself warns of this one on the standard error, if it is let.
    done = shell(line, PYTHONWARNINGS="always")
    assert (done.returncode, done.stderr) == (1, "")
    assert read(done.stdout) == []
    told = done.stdout.split("\n")[0]
    assert told.startswith("# FAILED: ")
    assert reason in told
    assert reason in (here / "log").read_text()


def test_in_a_shell_the_output_is_bytes(here):
    done = shell(
        "findgsc \"$(printf '\\377\\376')\" 3 -r 2", PYTHONIOENCODING="utf-16", XMATCH_HATS_LOG="~nosuchuser/log"
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert read(done.stdout) == []
    assert "is no position in degrees" in done.stdout.split("\n")[0]


def test_a_copy_without_recorded_coverage_holds_no_disc_for_sure(here, made, monkeypatch, tmp_path):
    shutil.copytree(made.copy, tmp_path / "foreign")
    (tmp_path / "foreign" / "xmatch_hats.json").unlink()
    monkeypatch.setenv("XMATCH_HATS_STAR_CATALOG", str(tmp_path / "foreign"))
    code, text = answer(["0.01", "-0.02", "-r", "6", "-n", "1000000"])
    assert (code, read(text)) == (1, [])
    assert "has no recorded coverage" in text.split("\n")[0]
