from __future__ import annotations

import io
import json
import math
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tests.alerts.makers import (
    SMALL_SCHEMA,
    XMATCHES_FIELD,
    load_ztf_schema,
    long,
    pack,
    random_value,
    schema_of,
    small_alert,
    unpack,
)
from tests.alerts.messages import LSST_PATHS, LSST_SCHEMA, bare, single, wire
from tests.alerts.poison import FINGERPRINT, MIB, halves, odd_but_good, poison_corpus, unmatchable, unreadable
from xmatch_hats.alerts.framing import MessageReader
from xmatch_hats.alerts.limits import MESSAGE_LIMITS
from xmatch_hats.alerts.packet import Packet, PacketReader
from xmatch_hats.alerts.plan import FieldPaths
from xmatch_hats.alerts.registry import FolderSchemas, NoSchemas
from xmatch_hats.alerts.splice import InputOutput, Output, assemble
from xmatch_hats.alerts.ztf33 import Ztf33Output
from xmatch_hats.errors import PacketError, UnknownSchemaError
from xmatch_hats.sphere import PositionFault, position_faults

FOUND = {"allwise": {"angDist": 0.5, "AllWISE": "J1", "W1mag": None}}
SMALL_TEXT = json.dumps(SMALL_SCHEMA).encode()


def reader_of(folder: Path, schemas: dict[int, bytes], paths: FieldPaths | None = None) -> MessageReader:
    for number, text in schemas.items():
        (folder / f"{number}.avsc").write_bytes(text)
    return MessageReader(PacketReader(paths, MESSAGE_LIMITS), FolderSchemas(folder))


def spliced(packet: Packet, value: Any, output: Output | None = None) -> bytes:
    union = io.BytesIO()
    fastavro.schemaless_writer(union, XMATCHES_FIELD["type"], value)
    header, encode = (output or InputOutput()).begin(packet)
    return b"".join(assemble(header, packet, [encode(alert, union.getvalue()) for alert in packet.alerts]))


def schema_text(packet: bytes) -> bytes:
    return fastavro.reader(io.BytesIO(packet)).metadata["avro.schema"].encode()


def test_bare_records_of_real_packets_become_the_same_containers(real_packets, tmp_path):
    lone = [data for data in real_packets.values() if len(unpack(data)) == 1]
    chosen = lone[::20]
    texts = sorted({schema_text(data) for data in chosen})
    reader = reader_of(tmp_path, dict(enumerate(texts, 1)))
    for data in chosen:
        body = halves(data)[1]
        packet = reader.read(wire(1 + texts.index(schema_text(data)), body))
        whole = reader.read(data)
        (alert,), (same,) = packet.alerts, whole.alerts
        assert (alert.ra, alert.dec, alert.object_id, alert.candid) == (same.ra, same.dec, same.object_id, same.candid)
        assert bytes(alert.original()) == body
        for output in (InputOutput(), Ztf33Output()):
            new, expected = spliced(packet, FOUND, output), spliced(whole, FOUND, output)
            assert repr(unpack(new)) == repr(unpack(expected))
            assert schema_of(new) == schema_of(expected)
            assert halves(new)[1] == halves(expected)[1]


def test_bare_records_of_every_official_version(shared_data, tmp_path):
    rng = random.Random(3)
    schemas = [load_ztf_schema(folder) for folder in sorted((shared_data / "schemas" / "ztf").iterdir())]
    reader = reader_of(tmp_path, {i: json.dumps(schema).encode() for i, schema in enumerate(schemas, 1)})
    for number, schema in enumerate(schemas, 1):
        record = random_value(schema, rng)
        for message in (wire(number, bare(record, schema)), single(schema, bare(record, schema))):
            new = spliced(reader.read(message), FOUND)
            assert unpack(new) == [record | {"xmatches": FOUND}]
            assert schema_of(new)["fields"][-1] == XMATCHES_FIELD


def test_a_record_always_becomes_the_same_bytes():
    reader = PacketReader(limits=MESSAGE_LIMITS)
    body = bare(small_alert(), SMALL_SCHEMA)
    first = reader.read_record(SMALL_TEXT, body)
    again = PacketReader(limits=MESSAGE_LIMITS).read_record(bytes(SMALL_TEXT), b"12345" + body, 5)
    assert spliced(first, None) == spliced(again, None)
    other = reader.read_record(SMALL_TEXT, bare(small_alert(1), SMALL_SCHEMA))
    # What is made for a header is made once for a schema.
    assert other.header is first.header
    assert other.sync != first.sync
    assert len(other.sync) == 16


@pytest.mark.parametrize(
    ("body", "message"),
    {
        b"": "record 0 of the message: ends in the middle",
        bare(small_alert(), SMALL_SCHEMA)[:-1]: "record 0 of the message: ends in the middle",
        bare(small_alert(), SMALL_SCHEMA) + b"\0\0": "message: has 2 bytes that belong to no record",
        bytes(MESSAGE_LIMITS.file_bytes + 1): "at most 16777216 are read",
    }.items(),
    ids=["empty", "cut", "longer", "huge"],
)
def test_bare_records_are_checked(body, message):
    with pytest.raises(PacketError, match=message):
        PacketReader(limits=MESSAGE_LIMITS).read_record(SMALL_TEXT, body)


def test_lsst_packets_have_their_own_fields(tmp_path):
    reader = reader_of(tmp_path, {703: json.dumps(LSST_SCHEMA).encode()}, LSST_PATHS)
    source = {"visit": 5, "midpointMjdTai": 60500.25, "ra": 53.0625, "dec": -27.5, "isNegative": True, "psfFlux": 1.5}
    whole = {
        "diaSourceId": 2**60 + 1,
        "diaSource": source,
        "prvDiaSources": [source, source],
        "diaObject": {"diaObjectId": 2**61 + 1, "ra": 1.0, "dec": 2.0},
        "cutoutScience": bytes(range(256)),
    }
    solar = whole | {"diaObject": None, "prvDiaSources": None, "diaSource": source | {"psfFlux": None, "ra": None}}
    without = whole | {"diaSource": None}
    packets = [reader.read(wire(703, bare(record, LSST_SCHEMA))) for record in (whole, solar, without)]
    first, second, third = (packet.alerts[0] for packet in packets)
    assert (first.ra, first.dec) == (53.0625, -27.5)
    assert (first.object_id, first.candid) == (2**61 + 1, 2**60 + 1)
    # Neither a boolean nor a field that is not there is a value.
    assert first.extra == (60500.25, 1.5, None, None)
    assert math.isnan(second.ra)
    assert (second.dec, second.object_id, second.extra) == (-27.5, None, (60500.25, None, None, None))
    assert math.isnan(third.ra)
    assert math.isnan(third.dec)
    assert third.extra == (None,) * 4
    for packet, record in zip(packets, (whole, solar, without), strict=True):
        for value in (FOUND, None):
            assert unpack(spliced(packet, value)) == [record | {"xmatches": value}]


def test_further_fields_are_carried():
    kinds = {
        "jd": ("double", 2459000.5),
        "ndethist": ("int", 3),
        "jdstarthist": (["double", "null"], 2458000.5),
        "jdendhist": (["null", "double"], None),
        "field": (["string", "long"], 2**53 + 1),
        "pid": ("string", "p"),
        "flag": ("boolean", True),
        "stamp": ("bytes", b"abc"),
        "band": ({"type": "enum", "name": "band_t", "symbols": ["g", "r"]}, "r"),
        "list": ({"type": "array", "items": "int"}, [1]),
    }
    fields = [
        *SMALL_SCHEMA["fields"][2]["type"]["fields"],
        *({"name": name, "type": kind} for name, (kind, _) in kinds.items()),
    ]
    candidate = {"type": "record", "name": "candidate", "fields": fields}
    schema = {"type": "record", "name": "a", "fields": [{"name": "candidate", "type": candidate}]}
    record = {"candidate": {"ra": 1.0, "dec": 2.0} | {name: value for name, (_, value) in kinds.items()}}
    asked = tuple(f"candidate.{name}" for name in reversed(kinds))
    (alert,) = PacketReader(FieldPaths(extra=(*asked, "candidate.dec", "nowhere"))).read(pack([record], schema)).alerts
    assert alert.extra == (None, None, None, None, "p", 2**53 + 1, None, 2458000.5, 3, 2459000.5, 2.0, None)
    assert PacketReader().read(pack([record], schema)).alerts[0].extra == ()


def test_history_of_real_alerts(real_packets):
    names = ("jd", "ndethist", "ncovhist", "jdstarthist", "jdendhist")
    reader = PacketReader(FieldPaths(extra=tuple(f"candidate.{name}" for name in names)))
    for data in list(real_packets.values())[::10]:
        for alert, record in zip(reader.read(data).alerts, unpack(data), strict=True):
            assert alert.extra == tuple(record["candidate"].get(name) for name in names)


def test_reasons_name_the_schema(tmp_path):
    body = bare(small_alert(), SMALL_SCHEMA)
    reader = reader_of(tmp_path, {1: SMALL_TEXT, 2: b'{"type": "record", "name": "a", "fields": []}'})
    assert reader.read(wire(1, body)).alerts[0].object_id == "ZTF0"
    assert reader.read(single(SMALL_SCHEMA, body)).alerts[0].object_id == "ZTF0"
    for message, reason in {
        wire(1, body[:-1]): r"^schema id 1, record 0 of the message: ends in the middle",
        wire(1, body + b"\0"): r"^schema id 1, message: has 1 bytes that belong to no record",
        single(SMALL_SCHEMA, body[:-1]): r"^schema fingerprint [0-9a-f]{16}, record 0 of the message: ends",
        wire(2, b""): r"^schema id 2: the writer schema has no field candidate.ra",
    }.items():
        with pytest.raises(PacketError, match=reason):
            reader.read(message)
    for number in (0, 3, 2**31, 2**32 - 1):
        with pytest.raises(UnknownSchemaError, match=rf"^unknown schema id {number} \(put {number}.avsc into"):
            reader.read(wire(number, body))
    with pytest.raises(UnknownSchemaError, match=r"unknown schema id 7 \(set SCHEMA_REGISTRY_URL or SCHEMA_DIR\)"):
        MessageReader(PacketReader()).read(wire(7, body))
    with pytest.raises(UnknownSchemaError, match=f"unknown schema fingerprint {FINGERPRINT.hex()}"):
        MessageReader(PacketReader(), NoSchemas()).read(b"\xc3\x01" + FINGERPRINT)


def test_a_container_of_several_records_is_no_message():
    with pytest.raises(PacketError, match="holds 2 records; a message holds one"):
        MessageReader(PacketReader()).read(pack([small_alert(), small_alert(1)]))


CHILD = """
import pickle, resource, sys
from pathlib import Path
from xmatch_hats.alerts.framing import MessageReader
from xmatch_hats.alerts.limits import MESSAGE_LIMITS
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.errors import PacketError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

messages = pickle.loads(Path(sys.argv[1]).read_bytes())
reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS))
reader.read(messages["good"])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
before = peak()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), used + (200 << 20)))
resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
reasons = {}
for name, data in messages.items():
    for _ in range(3):
        try:
            reader.read(data)
            reasons[name] = "passed"
        except PacketError as error:
            reasons[name] = str(error)
Path(sys.argv[2]).write_bytes(pickle.dumps((reasons, peak() - before)))
"""
GROWTH_BYTES = 100 * MIB
"""Six times the largest message that is read; the bombs among the messages would claim gigabytes."""


@pytest.fixture(scope="module")
def real_good(request) -> bytes:
    packets = request.getfixturevalue("real_packets")
    return min((data for data in packets.values() if len(unpack(data)) == 1), key=len)


@pytest.mark.parametrize("origin", ["small", "real"])
def test_poison_is_refused_for_what_it_is_in_little_memory(origin, request, tmp_path):
    good = pack([small_alert()]) if origin == "small" else request.getfixturevalue("real_good")
    corpus = unreadable(good)
    # Larger than any broker takes, hence not in the corpus.
    corpus["oversized"] = (b"Obj\x01" + bytes(MESSAGE_LIMITS.file_bytes), "at most 16777216 are read")
    messages = {name: data for name, (data, _) in corpus.items()} | {"good": good} | odd_but_good(good)
    into, out = tmp_path / "messages", tmp_path / "reasons"
    into.write_bytes(pickle.dumps(messages))
    command = [sys.executable, "-c", CHILD, str(into), str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    reasons, growth = pickle.loads(out.read_bytes())
    for name, (_, reason) in corpus.items():
        assert reason in reasons[name], name
    assert {reasons[name] for name in ("good", *odd_but_good(good))} == {"passed"}
    assert growth < GROWTH_BYTES


@pytest.mark.parametrize("origin", ["small", "real"])
def test_poison_of_bad_positions_is_read_and_then_refused(origin, request):
    good = pack([small_alert()]) if origin == "small" else request.getfixturevalue("real_good")
    reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS))
    for name, (data, reason) in unmatchable(good).items():
        (alert,) = reader.read(data).alerts
        (fault,) = position_faults([alert.ra], [alert.dec])
        assert reason in PositionFault(fault).reason, name
    assert len(poison_corpus(good)) == len(unreadable(good)) + len(unmatchable(good))


def test_no_damage_raises_anything_else(tmp_path):
    rng = random.Random(17)
    record = small_alert(tags=["é" * 30, None, "x"] * 20)
    schemas = {1: SMALL_TEXT, 256: json.dumps(LSST_SCHEMA).encode(), 3: b"nonsense"}
    reader = reader_of(tmp_path, schemas)
    body = bare(record, SMALL_SCHEMA)
    messages = [wire(1, body), single(SMALL_SCHEMA, body), pack([record])]
    refused = passed = 0
    for _ in range(6000):
        hurt = bytearray(rng.choice(messages))
        for _ in range(rng.choice([1, 1, 2, 50])):
            hurt[rng.randrange(len(hurt)) if rng.random() < 0.8 else rng.randrange(10)] = rng.randrange(256)
        damaged = bytes(hurt[: rng.choice([len(hurt), len(hurt), rng.randrange(len(hurt))])])
        try:
            packet = reader.read(damaged)
        except PacketError:
            refused += 1
            continue
        # What was let through, anybody can read.
        assert len(unpack(spliced(packet, FOUND))) == 1
        passed += 1
    assert refused > 1000
    assert passed > 100


def test_random_bytes_raise_nothing_else(tmp_path):
    rng = random.Random(23)
    reader = reader_of(tmp_path, {1: SMALL_TEXT})
    starts = [b"", b"\0", b"\0\0\0\0\1", b"\xc3\x01", single(SMALL_SCHEMA, b""), b"Obj\x01", b"Obj", long(-1)]
    for number in range(4000):
        data = rng.choice(starts) + rng.randbytes(rng.randrange(80) if number % 2 else 3)
        with pytest.raises(PacketError):
            reader.read(data)
