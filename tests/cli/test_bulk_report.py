"""``bulk report`` at the command line."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.bulk.alerts.nights import alert, packet, write_archive
from xmatch_hats.cli.app import run


@pytest.fixture(scope="module")
def nights(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nights")
    members = ((f"{i}.avro", packet(alert(i, made.ra[i], made.dec[i]))) for i in range(200))
    archive = write_archive(folder / "ztf_public_20180619.tar.gz", members)
    assert run(["bulk", "alerts", str(archive), "--catalog", f"sky={made.copy}", "--out", str(folder / "nights")]) == 0
    return folder / "nights"


def test_numbers_and_pictures(nights, capsys):
    capsys.readouterr()
    assert run(["bulk", "report", str(nights)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("in all: 200 = ")
    assert "sky: 200 = " in told.out
    assert "all agree\n" in told.out
    assert told.err == ""
    page = nights.parent / "nights_report" / "report.html"
    assert told.out.rstrip().endswith(f"-> {page}")
    assert page.is_file()
    assert (page.parent / "separation_sky.png").is_file()


def test_json_alone_draws_nothing(nights, tmp_path, capsys):
    copied = shutil.copytree(nights, tmp_path / "nights")
    assert run(["bulk", "report", str(copied), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["in"] == 200 == told["matched"] + told["unmatched"] + told["outside_coverage"] + told["rejected"]
    assert told["report"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["nights"]


def test_a_difference_ends_with_one(nights, tmp_path, capsys):
    copied = shutil.copytree(nights, tmp_path / "nights")
    notes = copied / "night=20180619" / "archive=ztf_public_20180619" / "_bulk" / "summary.json"
    told = json.loads(notes.read_text())
    notes.write_text(json.dumps(told | {"rows": 201}))
    assert run(["bulk", "report", str(copied), "--json"]) == 1
    told = capsys.readouterr()
    assert {
        "place": "ztf_public_20180619", "what": "rows that were read", "told": 201, "found": 200
    } in json.loads(told.out)["differences"]  # fmt: skip
    assert "ztf_public_20180619: rows that were read: 201 by its notes, 200 found" in told.err


def test_wrong_use(tmp_path, capsys):
    assert run(["bulk", "report", str(tmp_path)]) == 2
    assert "holds nothing to report on" in capsys.readouterr().err
    assert run(["bulk", "report", str(tmp_path / "none")]) == 2
    assert "there is no such folder" in capsys.readouterr().err
