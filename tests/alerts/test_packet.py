from __future__ import annotations

import json
import math
import random

import pytest

from tests.alerts.makers import (
    SMALL_SCHEMA,
    load_ztf_schema,
    long,
    pack,
    random_value,
    raw,
    small_alert,
    unpack,
)
from xmatch_hats.alerts.limits import MESSAGE_LIMITS
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.plan import FieldPaths
from xmatch_hats.errors import PacketError


def test_every_real_alert_is_read(real_packets):
    reader = PacketReader()
    total = 0
    for name, data in real_packets.items():
        packet = reader.read(data)
        records = unpack(data)
        assert len(packet.alerts) == len(records), name
        for alert, record in zip(packet.alerts, records, strict=True):
            candidate = record["candidate"]
            assert (alert.ra, alert.dec) == (candidate["ra"], candidate["dec"])
            assert alert.object_id == record["objectId"]
            # One broker's packets have it in the candidate alone.
            assert alert.candid == record.get("candid", candidate["candid"])
        total += len(records)
    assert total == 588


def test_packets_of_every_official_version_are_read(shared_data):
    folders = sorted((shared_data / "schemas" / "ztf").iterdir())
    assert len(folders) == 15
    reader, rng = PacketReader(), random.Random(5)
    for folder in folders:
        schema = load_ztf_schema(folder)
        records = [random_value(schema, rng) for _ in range(20)]
        for codec in ("null", "deflate", "snappy"):
            alerts = reader.read(pack(records, schema, codec=codec, sync_interval=5000)).alerts
            assert [alert.ra for alert in alerts] == [record["candidate"]["ra"] for record in records]
            assert [alert.object_id for alert in alerts] == [record.get("objectId") for record in records]
            assert [alert.candid for alert in alerts] == [record["candid"] for record in records]


def test_fields_lie_where_they_are_said_to():
    schema = {
        "type": "record",
        "name": "lsst",
        "fields": [
            {"name": "alertId", "type": "long"},
            {
                "name": "diaSource",
                "type": {
                    "type": "record",
                    "name": "s",
                    "fields": [
                        {"name": "dec", "type": ["null", "float"]},
                        {"name": "ra", "type": ["null", "int", "double"]},
                        {"name": "diaObjectId", "type": ["null", "long"]},
                    ],
                },
            },
        ],
    }
    paths = FieldPaths("diaSource.ra", "diaSource.dec", ("diaSource.diaObjectId",), ("alertId",))
    records = [
        {"alertId": 1, "diaSource": {"ra": 12, "dec": 0.5, "diaObjectId": 2**60 + 1}},
        {"alertId": 2, "diaSource": {"ra": 1.25, "dec": None, "diaObjectId": None}},
    ]
    first, second = PacketReader(paths).read(pack(records, schema)).alerts
    assert (first.ra, first.dec, first.object_id, first.candid) == (12.0, 0.5, 2**60 + 1, 1)
    assert second.ra == 1.25
    assert math.isnan(second.dec)
    assert second.object_id is None


def test_a_message_holds_one_record():
    reader = PacketReader(limits=MESSAGE_LIMITS)
    assert len(reader.read(pack([small_alert()])).alerts) == 1
    with pytest.raises(PacketError, match="holds 2 records; at most 1"):
        reader.read(pack([small_alert(), small_alert()]))
    with pytest.raises(PacketError, match="bytes; at most"):
        reader.read(bytes(MESSAGE_LIMITS.file_bytes + 1))


def test_headers_are_recognised_and_told_apart():
    reader = PacketReader()
    versions = [pack([small_alert(i)], SMALL_SCHEMA | {"version": f"v{i}"}) for i in range(6)]
    for _ in range(2):
        for i, data in enumerate(versions):
            packet = reader.read(data)
            assert packet.plan.version == f"v{i}"
            assert packet.sync == data[-16:]
            assert reader.read(data).header is packet.header
    with pytest.raises(PacketError):
        reader.read(versions[0][: packet.header.size + 3])


TEXT = json.dumps(SMALL_SCHEMA).encode()
BODY = long(1) + b"a" + long(7) + bytes(16) + long(0)
BROKEN = {
    "record cut": (BODY[:-1], 1, "ends in the middle"),
    "bytes behind the record": (BODY + b"\0", 1, "1 bytes that belong to no record"),
    "fewer records than there are": (BODY * 2, 1, "belong to no record"),
    "more records than there are": (BODY, 2, "record 1 of the block.*ends in the middle"),
    "bytes for no record": (BODY, 0, "belong to no record"),
    "text no UTF-8": (long(1) + b"\xff" + BODY[2:], 1, "not UTF-8"),
}


@pytest.mark.parametrize(("body", "count", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_records_are_refused(body, count, message):
    assert len(PacketReader().read(raw(TEXT, BODY)).alerts) == 1
    with pytest.raises(PacketError, match=message):
        PacketReader().read(raw(TEXT, body, count=count))


def test_every_truncation_is_refused(real_packets):
    data = min(real_packets.values(), key=len)
    reader = PacketReader()
    size = reader.read(data).header.size
    whole = set()
    for end in [*range(0, size, 997), *range(size, len(data), 7)]:
        try:
            assert reader.read(data[:end]).alerts == []
            whole.add(end)
        except PacketError:
            pass
    # A header alone is a container without records.
    assert whole <= {size + 16}


def test_no_damage_raises_anything_else(real_packets):
    rng = random.Random(9)
    data = min(real_packets.values(), key=len)
    reader = PacketReader()
    refused = 0
    for _ in range(1500):
        hurt = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 50])):
            hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        try:
            reader.read(bytes(hurt))
        except PacketError:
            refused += 1
    assert refused
