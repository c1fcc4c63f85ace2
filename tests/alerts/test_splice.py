from __future__ import annotations

import io
import json
import random

import fastavro
import pytest

from tests.alerts.makers import XMATCHES_FIELD, load_ztf_schema, pack, random_value, schema_of, small_alert, unpack
from tests.shared import full_size
from xmatch_hats.alerts.container import read_blocks, read_header
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import InputOutput, assemble, lone_record
from xmatch_hats.alerts.xmatches import NULL_XMATCHES

FOUND = {"allwise": {"angDist": 0.5, "AllWISE": "J1", "W1mag": None}}


def union(value) -> bytes:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, XMATCHES_FIELD["type"], value)
    return buffer.getvalue()


def spliced(data: bytes, reader: PacketReader, values: list) -> bytes:
    packet = reader.read(data)
    header, encode = InputOutput().begin(packet)
    return b"".join(assemble(header, packet, [encode(a, union(v)) for a, v in zip(packet.alerts, values, strict=True)]))


def reencoded(data: bytes, values: list) -> bytes:
    """The whole records decoded and encoded again, by fastavro."""
    return encoded(unpack(data), schema_of(data), values)


def encoded(records: list[dict], schema: dict, values: list) -> bytes:
    """Records with their matches, by fastavro."""
    fields = [field for field in schema["fields"] if field["name"] != "xmatches"] + [XMATCHES_FIELD]
    return pack([a | {"xmatches": b} for a, b in zip(records, values, strict=True)], schema | {"fields": fields})


def opened(data: bytes) -> tuple[list[dict], dict[str, str]]:
    """Records and header of a container, by fastavro, which takes its time for each schema that it reads."""
    reader = fastavro.reader(io.BytesIO(data))
    return list(reader), dict(reader.metadata)


def record_bytes(data: bytes) -> bytes:
    blocks = read_blocks(data, read_header(data, FILE_LIMITS), FILE_LIMITS)
    return b"".join(block.data[block.start : block.end] for block in blocks)


def same_records(a: list[dict], b: list[dict]) -> bool:
    return repr(a) == repr(b)


def one_of(real_packets: dict[str, bytes], every: int) -> dict[str, bytes]:
    """One packet of so many, and at least one of each folder."""
    kept, folders = {}, set()
    for number, (name, data) in enumerate(real_packets.items()):
        folder = name.rpartition("/")[0]
        if number % every == 0 or folder not in folders:
            kept[name] = data
            folders.add(folder)
    return kept


@pytest.mark.parametrize("every", [10, full_size(1)])
def test_real_packets_are_those_of_a_full_encoding(real_packets, every):
    reader = PacketReader()
    for number, (name, data) in enumerate(one_of(real_packets, every).items()):
        before, old = opened(data)
        values = [FOUND if (number + i) % 2 else None for i in range(len(before))]
        new = spliced(data, reader, values)
        after, fresh = opened(new)
        assert [record.pop("xmatches") for record in after] == values, name
        assert same_records(after, before), name
        assert [list(record) for record in after] == [list(record) for record in before]
        old_schema, new_schema = (json.loads(header.pop("avro.schema")) for header in (old, fresh))
        assert record_bytes(new) == record_bytes(encoded(before, old_schema, values)), name
        assert new_schema["fields"].pop() == XMATCHES_FIELD
        assert new_schema == old_schema
        assert old == fresh
        assert new[-16:] == data[-16:]


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy"])
def test_packets_of_every_official_version(shared_data, codec):
    reader, rng = PacketReader(), random.Random(7)
    for folder in sorted((shared_data / "schemas" / "ztf").iterdir()):
        schema = load_ztf_schema(folder)
        records = [random_value(schema, rng) for _ in range(6)]
        data = pack(records, schema, codec=codec, sync_interval=3000)
        new = spliced(data, reader, [FOUND, None] * 3)
        after = unpack(new)
        assert [record.pop("xmatches") for record in after] == [FOUND, None] * 3
        assert after == unpack(data)
        assert record_bytes(new) == record_bytes(reencoded(data, [FOUND, None] * 3))
        assert read_header(new, FILE_LIMITS).codec == codec


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("kind", ["int", XMATCHES_FIELD["type"]])
def test_xmatches_of_before_are_replaced_at_the_end(place, kind):
    schema = schema_of(pack([small_alert()]))
    schema["fields"].insert(place, {"name": "xmatches", "type": kind})
    old = 5 if kind == "int" else {"old": {"angDist": 1.0}}
    data = pack([small_alert(i, xmatches=old) for i in range(3)], schema)
    new = spliced(data, PacketReader(), [FOUND, None, FOUND])
    after = unpack(new)
    assert [list(record)[-1] for record in after] == ["xmatches"] * 3
    assert [record.pop("xmatches") for record in after] == [FOUND, None, FOUND]
    assert after == [small_alert(i) for i in range(3)]
    assert record_bytes(new) == record_bytes(reencoded(data, [FOUND, None, FOUND]))


def test_what_a_full_encoding_would_lose_is_kept():
    schema = schema_of(pack([small_alert()]))
    schema["fields"].append({"name": "flux", "type": {"type": "array", "items": "float"}})
    data = pack([small_alert(flux=[1.0])], schema)
    # A signalling NaN, in an array block that tells its size.
    head, tail = data[: -16 - 6], data[-16:]
    assert data.endswith(b"\x02\x00\x00\x80\x3f\x00" + tail)
    odd = b"\x01\x08\x01\x00\xa0\x7f\x00"
    size_at = read_header(data, FILE_LIMITS).size + 16 + 1
    odd_data = head[:size_at] + bytes([head[size_at] + 2]) + head[size_at + 1 :] + odd + tail
    assert odd + NULL_XMATCHES + tail in spliced(odd_data, PacketReader(), [None])


def test_alerts_can_be_left_out_and_set_aside():
    records = [small_alert(i) for i in range(6)]
    data = pack(records, codec="deflate", sync_interval=20)
    packet = PacketReader().read(data)
    assert len(packet.blocks) > 2
    header, encode = InputOutput().begin(packet)
    kept = [None if i in (1, 2, 3) else encode(alert, NULL_XMATCHES) for i, alert in enumerate(packet.alerts)]
    assert unpack(b"".join(assemble(header, packet, kept))) == [records[i] | {"xmatches": None} for i in (0, 4, 5)]
    alone = lone_record(packet, packet.alerts[2])
    assert unpack(alone) == [records[2]]
    assert schema_of(alone) == schema_of(data)
    assert record_bytes(alone) in record_bytes(data)


def test_a_container_without_records_stays_one():
    data = pack([])
    new = spliced(data, PacketReader(), [])
    assert unpack(new) == []
    assert schema_of(new)["fields"][-1] == XMATCHES_FIELD


def test_the_schema_is_written_as_it_came_where_it_is_no_ascii():
    schema = schema_of(pack([small_alert()])) | {"doc": "Ångström"}
    packet = PacketReader().read(pack([small_alert()], schema))
    assert json.loads(packet.plan.extended_schema)["doc"] == "Ångström"
