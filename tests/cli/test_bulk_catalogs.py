from __future__ import annotations

import json

import pytest

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.cli.app import run

COUNTS = ("left_out", "matched", "unmatched", "outside_coverage", "rejected")


def test_two_catalogues_become_one(made, plain_copy, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["bulk", "catalogs", str(made.copy), str(made.copy), "--out", str(out), "--radius", "2", "--all"]
    columns = ["--left-columns", "cntr,w1mpro", "--right-columns", "cntr"]
    assert run([*words, *columns, "--join", "left", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    copy = LocalCopy.open(out)
    assert told["path"] == str(out)
    assert told["left_rows"] == told["matched"] == made.sky.num_rows <= told["rows"] == copy.total_rows
    assert told["partitions"] == len(copy.partitions) > 1
    name = LocalCopy.open(made.copy).name
    assert set(copy.schema.names) == {
        "_healpix_29", "cntr", "w1mpro", "ra", "dec", f"cntr_{name}", "_dist_arcsec", "_status", "_rank",
    }  # fmt: skip
    assert run([*words]) == 1
    assert "exists already" in capsys.readouterr().err
    assert run(["catalog", "verify", str(out)]) == 0
    capsys.readouterr()
    none = [*words[:2], str(plain_copy), str(made.copy), "--out", str(tmp_path / "few"), "--radius", "0.001"]
    assert run(none) == 0
    assert "5,000 rows of plain: 0 matched" in capsys.readouterr().err


def test_a_part_of_it(made, tmp_path, capsys):
    words = ["bulk", "catalogs", str(made.copy), str(made.copy), "--out", str(tmp_path / "out"), "--radius", "5"]
    narrow = ["--cone", "0.1", "-0.2", "0.2", "--left-where", "w1mpro < 16", "--right-where", "w1mpro >= 16"]
    more = ["--where", "_dist_arcsec > 1", "--margin", "20", "--memory-per-worker", "1GiB", "--workers", "0"]
    assert run([*words, *narrow, *more, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["left_rows"] == made.sky.num_rows == sum(told[name] for name in COUNTS)
    assert 0 < told["rows"] <= told["pairs"] < told["left_rows"]
    assert told["left_out"] > 0
    assert LocalCopy.open(tmp_path / "out").margin_arcsec == 20.0


def test_a_dry_run_does_nothing(made, tmp_path, capsys):
    words = ["bulk", "catalogs", str(made.copy), str(made.copy), "--out", str(tmp_path / "out"), "--radius", "5"]
    assert run([*words, "--dry-run", "--json", "--workers", "0"]) == 0
    told = json.loads(capsys.readouterr().out)["matching"]
    assert told["tasks"] > 1
    assert told["size"] > 0 < told["disk_needed"] < told["disk_free"]
    assert run([*words, "--dry-run"]) == 0
    assert f"matching: {told['tasks']} units to do" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--radius", "1", "--all", "--neighbors", "2"], "exclude each other"),
        (["--radius", "1", "--right-columns", ","], "--right-columns"),
        (["--radius", "-1"], "radius"),
        (["--radius", "1", "--left-where", "nope > 1"], "--left-where: there is no column nope"),
        (["--radius", "1", "--cone", "1", "2", "3", "--moc", "some.fits"], "one region"),
        (["--radius", "1", "--memory-per-worker", "1MB"], "MiB of memory at least"),
        (["--radius", "1", "--margin", "0"], "margin must be a positive number"),
        (["--radius", "1", "--left-where", "1 // (cntr - cntr) > 5", "--workers", "0"], "the query fails: divide by"),
        (["--radius", "1", "--moc", "left.csv"], "--moc: left.csv: not a readable MOC: neither a FITS file, nor JSON"),
    ],
)
def test_wrong_use(made, tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "left.csv").write_text("ra,dec\n1,2\n")
    assert run(["bulk", "catalogs", str(made.copy), str(made.copy), "--out", str(tmp_path / "out"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_help_tells_what_queries_are(capsys):
    assert run(["bulk", "catalogs", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "a comparison with a null, does not count" in told
    assert "A radius wider than the margin cache of RIGHT" in told
