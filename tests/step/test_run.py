"""What the contract promises, by the whole step: real broker, real engine."""

from __future__ import annotations

import io
import json

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from tests.alerts.makers import pack, small_alert, unpack
from tests.alerts.messages import LSST_SCHEMA, bare, wire
from tests.copies import make_copy
from tests.oracle import brute_force
from tests.services.process import free_ports
from tests.services.topics import Message, create_topic, produce, read_all
from tests.step.monitoring.reports import labelled, value_of
from tests.step.process.sky import CORNERS
from tests.step.running import assert_answers
from xmatch_hats.alerts.ztf33_schema import SCHEMA as SCHEMA_33
from xmatch_hats.catalogs.region import Box
from xmatch_hats.step.flight import PoisonedError

WIRE_NAMES = {
    **{"AllWISE": "designation", "RAJ2000": "ra", "DEJ2000": "dec"},
    **{f"W{band}mag": f"w{band}mpro" for band in range(1, 5)},
    **{f"e_W{band}mag": f"w{band}sigmpro" for band in range(1, 5)},
    **{f"{band}mag": f"{band.lower()}_m_2mass" for band in "JHK"},
    **{f"e_{band}mag": f"{band.lower()}_msig_2mass" for band in "JHK"},
}
"""The contract's columns, and what a copy calls them."""


def came(world) -> dict[int, tuple[dict, dict[str, str]]]:
    """Alerts and their headers by candid."""
    found = {}
    for message in read_all(world.address, world.out):
        (alert,) = unpack(message.value)
        found[alert["candid"]] = alert, {name: value.decode() for name, value in message.headers}
    return found


def single(value):
    """What a 32-bit float makes of a number."""
    return None if value is None or not np.isfinite(value) else float(np.float32(value))


def test_the_default_columns_of_allwise(make_world, sky):
    world = make_world()
    places = produce(world.address, world.topic, sky.messages)
    total = world.run()
    assert (total.received, total.out) == (len(sky.alerts), len(sky.alerts))
    messages = read_all(world.address, world.out)
    assert_answers(sky, messages)
    alerts = {alert["candid"]: (alert, match) for alert, match in zip(sky.alerts, sky.matches, strict=True)}
    for message in messages:
        (found,) = unpack(message.value)
        assert message.key == found["objectId"].encode()
        xmatches = found.pop("xmatches")
        alert, match = alerts[found["candid"]]
        assert found == alert
        if match is not None:
            row, separation = match
            assert list(xmatches) == ["allwise"]
            assert xmatches["allwise"] == {"angDist": pytest.approx(separation, abs=1e-6)} | {
                name: row[column] if name == "AllWISE" else single(row[column]) for name, column in WIRE_NAMES.items()
            }
    assert {message.header("xmatch.status.allwise") for message in messages} == {None}
    by_candid = {alert["candid"]: place for alert, place in zip(sky.alerts, places, strict=True)}
    came_from = [by_candid[unpack(message.value)[0]["candid"]] for message in messages]
    for partition in range(2):
        offsets = [offset for place, offset in came_from if place == partition]
        assert offsets == sorted(offsets)


@pytest.fixture(scope="module")
def beside(wise, tmp_path_factory):
    """A copy without a definition: some sources of the sky, moved a little, and complete west of RA 0 only."""
    _, rows = wise
    chosen = rows[::3]
    table = {
        "ra": [row["ra"] + 0.3 / 3600 for row in chosen],
        "dec": [row["dec"] for row in chosen],
        "source_id": [10**17 + number for number in range(len(chosen))],
        "flux": [float(number) if number % 5 else None for number in range(len(chosen))],
    }
    west = Box(CORNERS[0], 0.0, *CORNERS[2:]).coverage()
    return make_copy(pa.table(table), tmp_path_factory.mktemp("beside") / "beside", coverage=west)


def test_several_catalogues(make_world, wise, sky, beside):
    catalogs = [
        {"name": "allwise", "path": str(wise[0].path), "columns": ["W1mag", "AllWISE"], "radius": 0.5},
        {"name": "beside", "path": str(beside.path), "radius": 2},
    ]
    world = make_world(CATALOG=json.dumps(catalogs))
    produce(world.address, world.topic, sky.messages)
    world.run()
    found = came(world)
    assert len(found) == len(sky.alerts)
    ra, dec = ([alert["candidate"][name] for alert in sky.alerts] for name in ("ra", "dec"))
    rows = wise[1]
    near = _nearest(brute_force(ra, dec, [r["ra"] for r in rows], [r["dec"] for r in rows], 0.5, k=1))
    sources = [(r["ra"] + 0.3 / 3600, r["dec"]) for r in rows[::3]]
    wide = _nearest(brute_force(ra, dec, [s[0] for s in sources], [s[1] for s in sources], 2.0, k=1))
    seen = set()
    for number, alert in enumerate(sky.alerts):
        record, headers = found[alert["candid"]]
        expected = {}
        if number in near:
            place, separation = near[number]
            row = rows[place]
            expected["allwise"] = {
                "angDist": pytest.approx(separation, abs=1e-6),
                "W1mag": single(row["w1mpro"]),
                "AllWISE": row["designation"],
            }
        if number in wide:
            place, separation = wide[number]
            expected["beside"] = {
                "angDist": pytest.approx(separation, abs=1e-6),
                "ra": single(sources[place][0] % 360),
                "dec": single(sources[place][1]),
                "source_id": str(10**17 + place),
                "flux": float(place) if place % 5 else None,
            }
        assert record["xmatches"] == (expected or None)
        assert headers["xmatch.status.allwise"] == ("matched" if number in near else "unmatched")
        # Half a degree from the border of what is complete, whichever way.
        east = 0.01 < ra[number] < 180
        if number in wide:
            assert headers["xmatch.status.beside"] == "matched"
        elif abs((ra[number] + 180) % 360 - 180) > 0.01:
            assert headers["xmatch.status.beside"] == ("outside-coverage" if east else "unmatched")
        each = {headers["xmatch.status.allwise"], headers["xmatch.status.beside"]}
        status = next(word for word in ("matched", "outside-coverage", "unmatched") if word in each)
        assert headers["xmatch.status"] == status
        seen.add((headers["xmatch.status.allwise"], headers["xmatch.status.beside"]))
    assert len(seen) >= 5


def _nearest(pairs) -> dict[int, tuple[int, float]]:
    return {
        int(left): (int(right), float(separation))
        for left, right, separation in zip(pairs.left, pairs.right, pairs.sep_arcsec, strict=True)
    }


def test_output_of_schema_3_3(make_world, sky):
    world = make_world(OUTPUT_SCHEMA="ztf-3.3")
    produce(world.address, world.topic, sky.messages[:50])
    world.run()
    messages = read_all(world.address, world.out)
    assert_answers(sky, messages, range(50))
    canonical = fastavro.schema.to_parsing_canonical_form(SCHEMA_33)
    alerts = {alert["candid"]: alert for alert in sky.alerts}
    for message in messages:
        reader = fastavro.reader(io.BytesIO(message.value))
        assert fastavro.schema.to_parsing_canonical_form(reader.writer_schema) == canonical
        (record,) = reader
        alert = alerts[record["candid"]]
        assert record["objectId"] == alert["objectId"]
        assert record["candidate"]["magpsf"] == alert["candidate"]["magpsf"]
        assert record["candidate"]["diffmaglim"] is None
        assert record["candidate"]["rbversion"] == ""


def test_packets_of_another_survey(make_world, sky, tmp_path):
    """Bare records behind a schema's number, with names of their own."""
    (tmp_path / "701.avsc").write_text(json.dumps(LSST_SCHEMA))
    world = make_world(
        POSITION="diaSource.ra,diaSource.dec",
        KEY="diaObject.diaObjectId,ssObject.ssObjectId",
        ID="diaSourceId",
        SCHEMA_DIR=str(tmp_path),
    )
    sent = []
    for number, alert in enumerate(sky.alerts[:40]):
        position = {name: alert["candidate"][name] for name in ("ra", "dec")}
        source = {"visit": 1, "midpointMjdTai": 60000.5, "isNegative": None, "psfFlux": 1.5} | position
        owner = {"diaObjectId": 500 + number, "ra": 0.0, "dec": 0.0} if number % 2 else None
        record = {"diaSourceId": alert["candid"], "diaSource": source, "diaObject": owner}
        sent.append(record | {"prvDiaSources": [source], "cutoutScience": b"image"})
    unknown = wire(702, bare(sent[0], LSST_SCHEMA))
    produce(world.address, world.topic, [*(wire(701, bare(record, LSST_SCHEMA)) for record in sent), unknown])
    total = world.run()
    assert (total.out, total.dead) == (40, 1)
    by_id = {record["diaSourceId"]: (number, record) for number, record in enumerate(sent)}
    for message in read_all(world.address, world.out):
        (found,) = unpack(message.value)
        xmatches = found.pop("xmatches")
        number, record = by_id[found["diaSourceId"]]
        assert found == record
        assert message.key == (b"%d" % (500 + number) if number % 2 else b"%d" % record["diaSourceId"])
        match = sky.matches[number]
        assert (xmatches and xmatches["allwise"]["AllWISE"]) == (match and match[0]["designation"])
    (letter,) = read_all(world.address, world.dead)
    assert letter.header("xmatch.error.class") == "UnknownSchemaError"
    assert letter.value == unknown


def test_metrics_messages(make_world, sky, topic_name):
    world = make_world(METRICS_TOPIC=topic_name("metrics"), CONSUME_MESSAGES="50")
    world.variables["METRICS_HOST"] = world.address
    metrics = create_topic(world.address, world.variables["METRICS_TOPIC"])
    produce(world.address, world.topic, [*sky.messages[:120], b"rubbish"])
    world.run()
    told = [json.loads(message.value) for message in read_all(world.address, metrics)]
    assert sum(message["n_messages"] for message in told) == 121
    assert len(told) >= 2
    candids = [candid for message in told for candid in message["candid"]]
    assert sorted(candids) == sorted(str(alert["candid"]) for alert in sky.alerts[:120])
    names = {str(alert["candid"]): alert["objectId"] for alert in sky.alerts}
    assert [oid for message in told for oid in message["oid"]] == [names[candid] for candid in candids]
    assert {message["source"] for message in told} == {"XmatchStep"}


def test_metrics_that_cannot_be_sent_stop_nothing(make_world, sky):
    (closed,) = free_ports(1)
    world = make_world(METRICS_HOST=f"127.0.0.1:{closed}", METRICS_TOPIC="metrics")
    with world.running() as step:
        produce(world.address, world.topic, sky.messages[:50])
        step.until(lambda: step.batches >= 1, "a batch")
        step.until(step.is_ready, "readiness")
        produce(world.address, world.topic, sky.messages[50:])
        step.until(lambda: sum(counts(step, "in").values()) == len(sky.alerts), "all messages")
    assert_answers(sky, read_all(world.address, world.out))


def test_metrics_tell_what_the_accounts_tell(make_world, sky):
    world = make_world()
    poison = [Message(b"rubbish", partition=0), Message(pack([small_alert(1, dec=float("nan"))]), partition=1)]
    with world.running() as step:
        step.until(step.is_ready, "readiness")
        produce(world.address, world.topic, [*sky.messages, *poison])
        step.until(lambda: sum(counts(step, "in").values()) == len(sky.alerts) + 2, "all messages")
        samples = step.metrics()
        got, out, dead, skipped = (counts(step, name) for name in ("in", "out", "dead", "skipped"))
    assert set(got) == {f"{world.topic}[0]", f"{world.topic}[1]"}
    assert dead == dict.fromkeys(got, 1)
    assert got == {name: out[name] + dead[name] + skipped[name] for name in got}
    assert (step.total.received, step.total.out) == (sum(got.values()), sum(out.values()))
    assert set(labelled(samples, "xmatch_hats_unaccounted", "partition").values()) == {0}
    statuses = labelled(samples, "xmatch_hats_alerts_total", "status")
    matched = sum(match is not None for match in sky.matches)
    assert statuses["matched"] == matched
    assert statuses["unmatched"] + statuses["outside-coverage"] == len(sky.alerts) - matched
    assert value_of(samples, "xmatch_hats_dead_letters_total", error="PacketError") == 2
    assert value_of(samples, "xmatch_hats_assigned_partitions") == 2
    assert step.batches == value_of(samples, "xmatch_hats_batches_total")


def counts(step, name: str) -> dict[str, float]:
    return labelled(step.metrics(), f"xmatch_hats_messages_{name}_total", "partition")


def test_skipped_packets_are_accounted_for(make_world, sky):
    world = make_world(ERROR_POLICY="skip")
    produce(world.address, world.topic, [*sky.messages[:10], b"rubbish", *sky.messages[10:20]])
    total = world.run()
    assert (total.received, total.out, total.dead, total.skipped) == (21, 20, 0, 1)
    assert read_all(world.address, world.dead) == []


def test_a_step_is_ready_when_it_has_joined_and_not_before(make_world):
    (closed,) = free_ports(1)
    world = make_world(partitions=1)
    with world.running(CONSUMER_SERVER=f"127.0.0.1:{closed}") as step:
        step.until(lambda: set(step.waits_for()) == {"joined", "source"}, "the rest")
        assert step.ask("/live")[0] == 200
        assert "down" in step.waits_for()["source"]
    with world.running() as first, world.running() as second:
        # One partition: one of the two has none.
        for step in (first, second):
            step.until(step.is_ready, "readiness")
        first.until(lambda: {_partitions(first), _partitions(second)} == {0, 1}, "a member without partitions")
        assert first.is_ready()
        assert second.is_ready()


def _partitions(step) -> float:
    return value_of(step.metrics(), "xmatch_hats_assigned_partitions")


def test_a_policy_to_stop_stops_before_anything_is_committed(make_world, sky):
    world = make_world(ERROR_POLICY="fail", partitions=1)
    produce(world.address, world.topic, [*sky.messages[:3], b"rubbish"])
    with pytest.raises(PoisonedError, match="offset 3: cannot be used"):
        world.run()
    assert read_all(world.address, world.out) == []
