from __future__ import annotations

import gzip
import io
import json

import fastavro
import numpy as np
import pytest
from astropy.io import fits

from tests.oracle import brute_force
from xmatch_hats.alerts.sources import PacketSources
from xmatch_hats.demo.exposure import make_exposure
from xmatch_hats.demo.packets import SCHEMA_33, packet_bytes, write_archive, write_packets
from xmatch_hats.demo.sky import SkyBox, make_sky
from xmatch_hats.errors import UsageError

FIELD = SkyBox(356.6, 4.0, 16.9, 23.6)


@pytest.fixture(scope="module")
def sky():
    return make_sky(20_000, seed=3, box=SkyBox(355.6, 2.9, 17.0, 24.0))


@pytest.fixture(scope="module")
def exposure(sky):
    return make_exposure(sky, FIELD, alerts=120, seed=3)


@pytest.fixture(scope="module")
def alerts(exposure):
    records = []
    for packet in packet_bytes(exposure):
        (record,) = fastavro.reader(io.BytesIO(packet))
        records.append(record)
    return records


def test_alerts_lie_on_beside_and_off_sources(sky, exposure):
    ra, dec = exposure.columns["ra"], exposure.columns["dec"]
    assert FIELD.contains(ra, dec).mean() > 0.98
    found = {r: len(brute_force(ra, dec, sky["ra"].to_numpy(), sky["dec"].to_numpy(), r, k=1)) for r in (1.0, 4.0)}
    assert 0.4 * len(exposure) < found[1.0] < 0.7 * len(exposure)
    assert found[1.0] < found[4.0] < 0.85 * len(exposure)


def test_packets_are_of_schema_3_3(shared_data):
    root = shared_data / "schemas" / "ztf" / "v3.3"
    names = {name: root / f"{name}.avsc" for name in ("candidate", "prv_candidate", "cutout", "alert")}
    parsed: dict = {}
    official = None
    for path in names.values():
        official = fastavro.parse_schema(json.loads(path.read_text()), named_schemas=parsed)
    mine = fastavro.parse_schema(SCHEMA_33)
    assert [field["name"] for field in mine["fields"]] == [field["name"] for field in official["fields"]]
    candidate = parsed["ztf.alert.candidate"]["fields"]
    ours = next(field for field in SCHEMA_33["fields"] if field["name"] == "candidate")["type"]["fields"]
    assert [(f["name"], f["type"]) for f in ours] == [(f["name"], f["type"]) for f in candidate]


def test_packets_are_whole(exposure, alerts):
    assert len({alert["candid"] for alert in alerts}) == len(alerts) == len({alert["objectId"] for alert in alerts})
    for number, alert in enumerate(alerts):
        candidate = alert["candidate"]
        assert alert["schemavsn"] == "3.3"
        assert candidate["candid"] == alert["candid"]
        assert (candidate["ra"], candidate["dec"]) == (exposure.columns["ra"][number], exposure.columns["dec"][number])
        assert None not in candidate.values()
        for epoch in alert["prv_candidates"] or []:
            assert epoch["jd"] < candidate["jd"]
    histories = [alert["prv_candidates"] for alert in alerts]
    assert None in histories
    assert any(epoch["candid"] is None for history in histories if history for epoch in history)
    assert any(epoch["candid"] is not None for history in histories if history for epoch in history)


def test_cutouts_are_images(alerts):
    images = {}
    for kind in ("Science", "Template", "Difference"):
        cutout = alerts[0][f"cutout{kind}"]
        assert cutout["fileName"].endswith(f"_targ_{kind[:4].lower()}.fits.gz")
        with fits.open(io.BytesIO(gzip.decompress(cutout["stampData"]))) as hdus:
            hdus.verify("exception")
            images[kind] = np.array(hdus[0].data)
    assert images["Science"].shape == (63, 63)
    np.testing.assert_array_equal(images["Difference"], images["Science"] - images["Template"])


def test_the_seed_decides(sky):
    first, same, other = (list(packet_bytes(make_exposure(sky, FIELD, alerts=3, seed=s))) for s in (1, 1, 2))
    assert first == same
    assert first != other


def test_some_packets_are_spoiled(exposure, tmp_path):
    written = write_packets(exposure, tmp_path / "p")
    assert len(written.paths) == len(list((tmp_path / "p").iterdir())) == 120
    unreadable = []
    for path in written.paths:
        try:
            (record,) = fastavro.reader(io.BytesIO(path.read_bytes()))
        except (ValueError, EOFError):
            unreadable.append(path)
        else:
            assert np.isnan(record["candidate"]["dec"]) == (path in written.spoiled)
    assert len(unreadable) == 3
    assert len(written.spoiled) == 4
    assert set(unreadable) < set(written.spoiled)
    assert write_packets(exposure, tmp_path / "whole", spoil=False).spoiled == {}


def test_an_archive_has_every_packet_as_it_is(exposure, tmp_path):
    written = write_packets(exposure, tmp_path / "p")
    write_archive(written, tmp_path / "night.tar.gz")
    packed = [(raw.name, raw.read()) for raw in PacketSources([tmp_path / "night.tar.gz"])]
    assert packed == [(path.name, path.read_bytes()) for path in written.paths]


def test_no_alerts_and_too_many(sky):
    assert list(packet_bytes(make_exposure(sky, FIELD, alerts=0))) == []
    assert len(make_exposure(sky.slice(0, 0), FIELD, alerts=5)) == 5
    with pytest.raises(UsageError, match="100,000"):
        make_exposure(sky, FIELD, alerts=100_001)
