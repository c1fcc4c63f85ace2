"""The whole path on real data, by the command line as a user calls it: catalogue in, packets and tables through it."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

import fastavro
import numpy as np
import pytest

from tests.oracle import brute_force
from xmatch_hats.cli.app import run

pytestmark = pytest.mark.whole_path

WIRE_TOLERANCE_ARCSEC = 2.5e-4  # of the stored answers, which CDS rounded


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def packets(folder: Path) -> dict[str, dict]:
    """Every record of every file, by an independent decoder."""
    found = {}
    for path in sorted(folder.rglob("*.avro")):
        with path.open("rb") as file:
            for number, record in enumerate(fastavro.reader(file)):
                found[f"{path.relative_to(folder)}#{number}"] = record
    return found


def same(a, b) -> bool:
    """Equal, with NaN equal to NaN, all the way down."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


@pytest.fixture(scope="module")
def answered_copy(shared_data, tmp_path_factory) -> Path:
    """The rows that the stored answers name, as a copy said to cover the sky."""
    out = tmp_path_factory.mktemp("copies") / "c"
    source = shared_data / "allwise_vizier_rows.csv"
    assert run(["catalog", "import", str(source), "--coverage", "all-sky", "--out", str(out)]) == 0
    assert run(["catalog", "verify", str(out)]) == 0
    return out


def test_alerts_get_the_stored_answer(shared_data, answered_copy, tmp_path, capsys, record_property):
    out = tmp_path / "o"
    source = shared_data / "alerce_oracle" / "alerts"
    capsys.readouterr()
    arguments = ["alerts", str(source), "--catalog", f"allwise={answered_copy}", "--out", str(out), "--json"]
    assert run(arguments) == 0
    counts = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert [counts[k] for k in ("in", "matched", "unmatched", "outside_coverage", "rejected")] == [13, 11, 2, 0, 0]

    expected = {
        (r["oid_in"], r["ra_in"][:12], r["dec_in"][:9]): r
        for r in rows(shared_data / "alerce_oracle/expected_xmatch.csv")
    }
    before, after = packets(source), packets(out)
    assert before.keys() == after.keys()
    answered = 0
    for name, alert in after.items():
        xmatches = alert.pop("xmatches")
        assert same(alert, before[name])
        if alert["objectId"] in ("ZTF19aanyzri", "ZTF19aanyxbv"):
            assert xmatches is None
            continue
        match = xmatches["allwise"]
        assert len(match) == 18
        if alert["candid"] == 1264463265515010003:
            assert match["AllWISE"] == "J224840.67-003303.6"
            assert match["angDist"] == pytest.approx(0.2995, abs=WIRE_TOLERANCE_ARCSEC)
            continue
        candidate = alert["candidate"]
        key = min(
            (k for k in expected if k[0] == alert["objectId"]),
            key=lambda k: (
                abs(float(expected[k]["ra_in"]) - candidate["ra"])
                + abs(float(expected[k]["dec_in"]) - candidate["dec"])
            ),
        )
        answer = expected.pop(key)
        answered += 1
        assert float(answer["ra_in"]) == pytest.approx(candidate["ra"], abs=1e-9)
        assert match["AllWISE"] == answer["AllWISE"]
        assert match["angDist"] == pytest.approx(float(answer["angDist"]), abs=WIRE_TOLERANCE_ARCSEC)
        for column in ("W1mag", "e_W1mag", "W4mag", "Jmag", "e_Kmag"):
            value = answer[column]
            assert match[column] == (None if value == "" else pytest.approx(float(value), rel=1e-6))
    assert answered == 10
    record_property("counts", {key: counts[key] for key in ("in", "matched", "unmatched", "rejected")})


def test_positions_get_the_stored_answer(shared_data, answered_copy, tmp_path, record_property):
    out = tmp_path / "m.csv"
    source = shared_data / "cds_oracle" / "positions.csv"
    arguments = ["match", str(source), "--catalog", f"allwise={answered_copy}", "--radius", "1", "--out", str(out)]
    assert run(arguments) == 0
    answers = {r["id_in"]: r for r in rows(shared_data / "cds_oracle" / "answers.csv")}
    matched = rows(out)
    assert [r["id"] for r in matched] == [r["id"] for r in rows(source)]
    statuses = Counter(r["_status"] for r in matched)
    assert statuses == {"matched": 2727, "unmatched": 50}
    record_property("statuses", dict(statuses))
    for row in matched:
        answer = answers.get(row["id"])
        assert (row["designation"] or None) == (answer and answer["AllWISE"])
        if answer:
            assert float(row["_dist_arcsec"]) == pytest.approx(float(answer["angDist"]), abs=WIRE_TOLERANCE_ARCSEC)


def test_a_field_matched_in_two_ways(shared_data, tmp_path, record_property):
    copy, spitzer = tmp_path / "w5", shared_data / "w5_field" / "spitzer_w5.csv"
    source = shared_data / "w5_field" / "allwise_w5.tbl"
    assert run(["catalog", "import", str(source), "--margin", "30", "--out", str(copy)]) == 0
    left = rows(spitzer)
    ra, dec = (np.array([float(r[c]) for r in left]) for c in ("RAJ2000", "DEJ2000"))
    right = np.array([line.split()[:3] for line in source.read_text().splitlines() if line[0] not in "\\|"])
    right_ra, right_dec = right[:, 1].astype(float), right[:, 2].astype(float)

    nearest, every = tmp_path / "nearest.csv", tmp_path / "all.csv"
    common = ["match", str(spitzer), "--catalog", str(copy), "--join", "inner"]
    assert run([*common, "--radius", "3", "--out", str(nearest)]) == 0
    assert run([*common, "--radius", "30", "--all", "--out", str(every)]) == 0
    for path, radius, k, size in ((nearest, 3, 1, 898), (every, 30, None, 4590)):
        oracle = brute_force(ra, dec, right_ra, right_dec, radius, k=k)
        found = rows(path)
        assert len(found) == len(oracle) == size
        record_property(f"pairs within {radius} arcsec", len(found))
        assert [r["ID"] for r in found] == [left[i]["ID"] for i in oracle.left]
        assert [r["designation"] for r in found] == right[oracle.right, 0].tolist()
        assert np.abs(np.array([float(r["_dist_arcsec"]) for r in found]) - oracle.sep_arcsec).max() < 1e-9
    assert sum(n > 1 for n in Counter(r["ID"] for r in rows(every)).values()) == 1143


@pytest.mark.parametrize("schema", ["input", "ztf-3.3"])
def test_every_real_alert_comes_out(shared_data, answered_copy, tmp_path, capsys, record_property, schema):
    out = tmp_path / "o"
    source = shared_data / "ztf_alerts"
    capsys.readouterr()
    arguments = ["alerts", str(source), "--catalog", f"allwise={answered_copy}", "--out", str(out), "--json"]
    assert run([*arguments, "--output-schema", schema]) == 0
    counts = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert counts["in"] == 575
    assert counts["rejected"] == 0
    record_property("counts", {key: counts[key] for key in ("in", "matched", "unmatched", "rejected")})
    assert counts["matched"] + counts["unmatched"] + counts["outside_coverage"] == 575
    before, after = packets(source), packets(out)
    assert before.keys() == after.keys()
    assert len(after) == 575
    for name, alert in after.items():
        assert list(alert)[-1] == "xmatches"
        alert.pop("xmatches")
        if schema == "input":
            assert same(alert, before[name])
        else:
            # One broker keeps it in the candidate alone.
            assert alert["candid"] == before[name].get("candid", before[name]["candidate"]["candid"])
            assert alert["candidate"]["ra"] == before[name]["candidate"]["ra"]


def test_written_packets_read_back_alone(shared_data, answered_copy, tmp_path):
    """A packet is self-contained: its own embedded schema reads it, from bytes alone."""
    out = tmp_path / "o"
    source = next((shared_data / "alerce_oracle" / "alerts").glob("ZTF19abegmle_9*.avro"))
    assert run(["alerts", str(source), "--catalog", f"allwise={answered_copy}", "--out", str(out)]) == 0
    (path,) = out.rglob("*.avro")
    reader = fastavro.reader(io.BytesIO(path.read_bytes()))
    (record,) = reader
    assert reader.writer_schema["fields"][-1]["name"] == "xmatches"
    assert record["xmatches"]["allwise"]["AllWISE"] == "J224840.67-003303.6"
