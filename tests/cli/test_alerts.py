from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.alerts.makers import pack, schema_of, small_alert, unpack
from tests.cli.conftest import Made
from tests.copies import make_copy, sky_table
from tests.oracle import brute_force
from xmatch_hats.alerts.ztf33_schema import SCHEMA
from xmatch_hats.cli import alerts as verb
from xmatch_hats.cli.app import run

ROOT = Path(__file__).parents[2]
WIRE_NAMES = ["angDist", "AllWISE", "RAJ2000", "DEJ2000"] + [
    f"{prefix}{band}mag" for prefix in ("", "e_") for band in ("W1", "W2", "W3", "W4", "J", "H", "K")
]


@pytest.fixture
def exposure(made: Made, tmp_path: Path) -> Path:
    """Every position of the made exposure as a packet, one file with the last five, and two rejects."""
    folder = tmp_path / "packets"
    folder.mkdir()
    positions = list(zip(made.ra.tolist(), made.dec.tolist(), strict=True))
    for i, (ra, dec) in enumerate(positions[:-5]):
        (folder / f"{i:04}.avro").write_bytes(pack([small_alert(i, ra, dec)]))
    last = [small_alert(len(positions) - 5 + i, ra, dec) for i, (ra, dec) in enumerate(positions[-5:])]
    (folder / "many.avro").write_bytes(pack([*last, small_alert(-1, math.nan)], codec="snappy"))
    (folder / "broken.avro").write_bytes(b"broken")
    return folder


def records(out: Path) -> dict[int, dict]:
    return {record["candid"]: record for path in out.rglob("*.avro") for record in unpack(path.read_bytes())}


def last_object(text: str) -> dict:
    return json.loads(text.strip().splitlines()[-1])


def test_packets_get_the_answer_of_brute_force(made, exposure, tmp_path, capsys):
    out = tmp_path / "o"
    assert run(["alerts", str(exposure), "--catalog", f"allwise={made.copy}", "--out", str(out), "--json"]) == 0
    counts = last_object(capsys.readouterr().out)
    oracle = brute_force(made.ra, made.dec, made.sky["ra"], made.sky["dec"], 1.0, k=1)
    assert len(oracle) > 100
    found = records(out)
    assert sorted(found) == list(range(len(made.ra)))
    names = {}
    for number, record in found.items():
        if record["xmatches"] is not None:
            match = record["xmatches"]["allwise"]
            assert sorted(match) == sorted(WIRE_NAMES)
            assert next(iter(match)) == "angDist"
            names[number] = match["AllWISE"], match["angDist"]
    expected = made.designations[oracle.right].tolist()
    assert {number: name for number, (name, _) in names.items()} == dict(
        zip(oracle.left.tolist(), expected, strict=True)
    )
    wire = np.array([names[number][1] for number in oracle.left.tolist()])
    assert np.abs(wire - oracle.sep_arcsec).max() < 1e-6
    assert counts["in"] == len(made.ra) + 2
    assert counts["matched"] == len(oracle)
    assert counts["rejected"] == 2
    assert counts["outside_coverage"] > 0
    assert counts["in"] == sum(counts[key] for key in ("matched", "unmatched", "outside_coverage", "rejected"))
    assert counts["catalogs"]["allwise"]["matched"] == len(oracle)
    kept = sorted(path.name for path in (tmp_path / "o.rejects").iterdir())
    assert kept == ["broken.avro", "broken.avro.reason.json", "many.record-5.avro", "many.record-5.avro.reason.json"]


def test_several_catalogues_on_a_running_scheduler(made, plain_copy, exposure, tmp_path, capsys, dask_client):
    out, address = tmp_path / "o.tar.gz", dask_client.scheduler.address
    arguments = ["alerts", str(exposure / "0000.avro"), "--catalog", str(made.copy), "--catalog", f"far={plain_copy}"]
    assert run([*arguments, "--radius", "2.5", "--out", str(out), "--scheduler", address]) == 0
    text = capsys.readouterr().out
    assert text.startswith("1 alerts of 1 packets in ")
    assert "  allwise: " in text
    assert "  far: 0 matched, 1 unmatched, 0 outside-coverage, 0 rejected" in text
    assert "rejects" not in text
    assert out.is_file()


def test_a_copy_without_definition_gives_all_its_columns(plain_copy, tmp_path, capsys):
    from xmatch_hats.catalogs.copy import open_copy

    copy = open_copy(plain_copy)
    table = _first_row(copy)
    (tmp_path / "a.avro").write_bytes(pack([small_alert(1, table["ra"], table["dec"])]))
    arguments = ["alerts", str(tmp_path / "a.avro"), "--catalog", f"mine={plain_copy}", "--out", str(tmp_path / "o")]
    assert run([*arguments, "--output-schema", "ztf-3.3", "--rejects", str(tmp_path / "r")]) == 0
    data = (tmp_path / "o" / "a.avro").read_bytes()
    assert schema_of(data) == SCHEMA
    match = unpack(data)[0]["xmatches"]["mine"]
    assert sorted(match) == ["angDist", "dec", "flux", "ra", "source_id"]
    assert match["source_id"] == str(table["source_id"])
    assert match["angDist"] == 0.0
    assert "tags: 1" in capsys.readouterr().out


def test_columns_that_xmatches_cannot_hold_are_told(tmp_path, capsys):
    shapes = pa.array([[1.0]] * 100, type=pa.list_(pa.float64()))
    copy = make_copy(sky_table(100, shapes=shapes), tmp_path / "c", coverage="all-sky")
    (tmp_path / "a.avro").write_bytes(pack([small_alert(1, 10.0, 20.0)]))
    assert run(["alerts", str(tmp_path / "a.avro"), "--catalog", str(copy.path), "--out", str(tmp_path / "o")]) == 0
    assert "c: xmatches cannot hold columns of these types, left out: shapes" in capsys.readouterr().err


def _first_row(copy) -> dict:
    import pyarrow.parquet as pq

    return pq.read_table(copy.partition_file(copy.partitions[0]), partitioning=None).slice(0, 1).to_pylist()[0]


def test_a_damaged_partition_fails_the_run_and_nothing_comes_out(made, exposure, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(made.copy, copy)
    # Of the copy itself, and of its side copy.
    for path in copy.rglob("Npix=*.*"):
        path.write_bytes(path.read_bytes()[:-2000] + bytes(2000))
    assert run(["alerts", str(exposure), "--catalog", f"allwise={copy}", "--out", str(tmp_path / "o"), "--json"]) == 1
    captured = capsys.readouterr()
    assert "Npix=" in captured.err
    assert captured.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "packets"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packets": "gone"}, "does not exist"),
        ({"--catalog": None}, "--catalog"),
        ({"--out": None}, "--out"),
        ({"--out": "packets"}, "lies in the input"),
        ({"--output-schema": "ztf-4"}, "ztf-4"),
        ({"--batch": "0"}, "--batch"),
        ({"--radius": "11"}, "margin"),
        ({"--radius": "-1"}, "radius"),
    ],
    ids=str,
)
def test_wrong_use_exits_with_2(made, exposure, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    options = {"packets": "packets", "--catalog": f"allwise={made.copy}", "--out": "o"} | change
    packets = options.pop("packets")
    arguments = [part for key, value in options.items() if value is not None for part in (key, value)]
    assert run(["alerts", packets, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packets"]


def test_two_catalogues_of_one_name_are_wrong_use(made, exposure, tmp_path, capsys):
    arguments = ["alerts", str(exposure), "--out", str(tmp_path / "o")]
    assert run([*arguments, "--catalog", str(made.copy), "--catalog", str(made.copy)]) == 2
    assert "allwise" in capsys.readouterr().err


def test_a_missing_catalogue_fails(exposure, tmp_path, capsys):
    assert run(["alerts", str(exposure), "--catalog", str(tmp_path / "gone"), "--out", str(tmp_path / "o")]) == 1
    assert "gone" in capsys.readouterr().err


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    with verb._progress() as advance:
        advance(5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with verb._progress() as advance:
        advance(1234)
    assert "1,234 alerts" in capsys.readouterr().err


STOPPED = """
import os, sys
from pathlib import Path
from tests.alerts.makers import stand_in
from xmatch_hats import cli
from xmatch_hats.step.files import run_alerts
from xmatch_hats.cli import app

folder, number = Path(sys.argv[1]), int(sys.argv[2])
stop = lambda _: os.kill(os.getpid(), number)
app.run = lambda: run_alerts([folder / "a.avro"], stand_in(), folder / "o", progress=stop)
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_nothing_behind(tmp_path, number, code):
    (tmp_path / "a.avro").write_bytes(pack([small_alert(1)]))
    child = [sys.executable, "-c", STOPPED, str(tmp_path), str(int(number))]
    result = subprocess.run(child, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.avro"]
