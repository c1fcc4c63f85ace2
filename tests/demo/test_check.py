"""The demo's own check must be right, and must notice what is wrong."""

from __future__ import annotations

import copy as copies
import io

import fastavro
import numpy as np
import pytest

from tests.oracle import brute_force
from xmatch_hats.alerts.ztf33_schema import SCHEMA
from xmatch_hats.catalogs.definition import load_definition
from xmatch_hats.demo.check import CheckReport, check_counts, check_packets, nearest_by_brute_force, outside_bounds
from xmatch_hats.demo.exposure import make_exposure
from xmatch_hats.demo.packets import write_packets
from xmatch_hats.demo.sky import SkyBox, make_sky

BOX = SkyBox(359.5, 0.5, -0.5, 0.5)
NAMES = {"designation": "AllWISE", "ra": "RAJ2000", "w1mpro": "W1mag", "j_m_2mass": "Jmag"}


@pytest.fixture(scope="module")
def sky():
    return make_sky(4000, seed=2, box=BOX)


@pytest.fixture(scope="module")
def exposure(sky):
    return make_exposure(sky, SkyBox(359.4, 0.6, -0.6, 0.5), alerts=60, seed=2)


@pytest.fixture(scope="module")
def truth(sky, exposure):
    return nearest_by_brute_force(sky, exposure.columns["ra"], exposure.columns["dec"], 1.0)


def answered(sky, truth, record, number):
    row = truth.row[number]
    record["xmatches"] = None
    if row >= 0:
        match = {wire: sky[name][int(row)].as_py() for name, wire in NAMES.items()}
        record["xmatches"] = {"allwise": match | {"angDist": float(truth.distance_arcsec[number])}}
    return record


@pytest.fixture
def packets(sky, exposure, truth, tmp_path):
    """Inputs, and outputs with the right answers."""
    sources = write_packets(exposure, tmp_path / "in", spoil=False).paths
    (tmp_path / "out").mkdir()
    for number, path in enumerate(sources):
        (record,) = fastavro.reader(io.BytesIO(path.read_bytes()))
        write(tmp_path / "out" / path.name, answered(sky, truth, record, number))
    return sources, tmp_path / "out"


def write(path, record):
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(SCHEMA), [record])


def test_it_finds_what_every_pair_gives(sky, exposure, truth):
    ra, dec = exposure.columns["ra"], exposure.columns["dec"]
    oracle = brute_force(ra, dec, sky["ra"].to_numpy(), sky["dec"].to_numpy(), 1.0, k=1, ids=sky["cntr"].to_numpy())
    assert np.flatnonzero(truth.row >= 0).tolist() == oracle.left.tolist()
    assert truth.row[oracle.left].tolist() == oracle.right.tolist()
    np.testing.assert_allclose(truth.distance_arcsec[oracle.left], oracle.sep_arcsec, atol=1e-9, rtol=0)
    assert 10 < len(oracle) < 55


def test_equal_distances_go_to_the_smaller_id_and_poles_are_no_trouble(sky):
    import pyarrow as pa

    twins = pa.table({"ra": [5.0, 5.0, 90.0, 270.0], "dec": [1.0, 1.0, 89.9999, 89.9999], "cntr": [9, 4, 2, 1]})
    found = nearest_by_brute_force(twins, np.array([5.0, 0.0, np.nan]), np.array([1.0, 90.0, 1.0]), 1.0)
    assert found.row.tolist() == [1, 3, -1]


def test_right_answers_pass(sky, truth, packets):
    sources, out = packets
    report = check_packets(sky, sources, out, truth, NAMES)
    assert report.problems == []
    assert (report.packets, report.matches, report.whole_packets) == (60, int((truth.row >= 0).sum()), 6)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda alert: alert.update(xmatches=None),
        lambda alert: alert["xmatches"]["allwise"].update(AllWISE="J000000.00+000000.0"),
        lambda alert: alert["xmatches"]["allwise"].update(angDist=alert["xmatches"]["allwise"]["angDist"] * 1.00001),
        lambda alert: alert["xmatches"]["allwise"].update(Jmag=99.0),
        lambda alert: alert["xmatches"]["allwise"].pop("W1mag"),
        lambda alert: alert["xmatches"].update(other={}),
    ],
)
def test_wrong_answers_are_noticed(sky, truth, packets, spoil):
    sources, out = packets
    number = int(np.flatnonzero(truth.row >= 0)[-1])
    path = out / sources[number].name
    (record,) = fastavro.reader(io.BytesIO(path.read_bytes()))
    spoil(record)
    write(path, record)
    report = check_packets(sky, sources, out, truth, NAMES)
    assert len(report.problems) == 1
    assert path.name in report.problems[0]


def test_an_invented_match_a_changed_field_and_a_lost_packet_are_noticed(sky, truth, packets):
    sources, out = packets
    lone, whole = int(np.flatnonzero(truth.row < 0)[0]), 0
    for number, change in ((lone, {"xmatches": {"allwise": {"angDist": 0.5}}}), (whole, {"publisher": "somebody"})):
        path = out / sources[number].name
        (record,) = fastavro.reader(io.BytesIO(path.read_bytes()))
        write(path, copies.deepcopy(record) | change)
    (out / sources[-1].name).unlink()
    report = check_packets(sky, sources, out, truth, NAMES)
    assert len(report.problems) == 3


def counts(**changes):
    return {"in": 62, "matched": 40, "unmatched": 15, "outside_coverage": 5, "rejected": 2} | changes


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, 0),
        ({"matched": 39}, 2),
        ({"rejected": 3, "unmatched": 14}, 1),
        ({"outside_coverage": 8, "unmatched": 12}, 1),
        ({"in": 63}, 2),
    ],
)
def test_counts(truth, changes, problems):
    fixed = type(truth)(np.r_[np.zeros(40, int), np.full(20, -1)], np.zeros(60))
    report = CheckReport()
    check_counts(report, counts(**changes), fixed, (4, 6), rejected=2)
    assert len(report.problems) == problems


def test_what_may_be_outside():
    ra = np.array([0.0, 0.4999, 0.49, 0.6, 359.4, 0.0, 0.0, 359.5001])
    dec = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.4999, -0.6, 0.0])
    nowhere = nearest_by_brute_force(make_sky(0), ra, dec, 1.0)
    assert outside_bounds(BOX, ra, dec, nowhere, 1.0, 0.0) == (6, 6)
    assert outside_bounds(BOX, ra, dec, nowhere, 1.0, 0.02) == (6, 7)
    assert outside_bounds(BOX, ra, dec, nowhere, 0.01, 0.02) == (3, 7)


def test_names_of_the_test_are_the_definition_s():
    definition = load_definition("allwise")
    assert {name: definition.vizier_name(name) for name in NAMES} == NAMES
