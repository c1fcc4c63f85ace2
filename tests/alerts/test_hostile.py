"""Packets made to kill: each must be refused, or pass, in a process of little memory that survives them all."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.alerts.makers import SMALL_SCHEMA, long, pack, raw, small_alert

CANDIDATE = SMALL_SCHEMA["fields"][2]


def text(*fields, **more) -> bytes:
    listed = [CANDIDATE, *({"name": f"f{i}", "type": field} for i, field in enumerate(fields))]
    return json.dumps({"type": "record", "name": "alert", "fields": listed} | more).encode()


def nest(depth: int, inner, word: str = "items", kind: str = "array"):
    for _ in range(depth):
        inner = {"type": kind, word: inner}
    return inner


def record(name: str, *fields) -> dict:
    return {"type": "record", "name": name, "fields": [{"name": f"g{i}", "type": f} for i, f in enumerate(fields)]}


def doubling(depth: int) -> dict:
    """Every record holds the next one twice: 2^depth fields when unfolded."""
    schema = record(f"d{depth}", "int")
    for level in reversed(range(depth)):
        schema = record(f"d{level}", schema, f"d{level + 1}")
    return schema


def deflated_zeros(mebibytes: int) -> bytes:
    compressor = zlib.compressobj(1, wbits=-15)
    zeros = bytes(MIB)
    return b"".join(compressor.compress(zeros) for _ in range(mebibytes)) + compressor.flush()


POSITION = bytes(16)
MIB = 1 << 20
EMPTY, NULLS = record("e"), record("n", *["null"] * 1000)
WIDE = record("wide", *[["null", "int"]] * 500)

HOSTILE = {
    "recursive record, 200 kB": raw(text(["null", "alert"]), POSITION + long(1) * 200_000),
    "recursive without a way out": raw(text("alert"), POSITION),
    "recursive array": raw(text({"type": "array", "items": "alert"}), POSITION + long(1) * 200_000),
    "billions of nulls": raw(text({"type": "array", "items": "null"}), POSITION + long(2**31) + long(0)),
    "billions of empty records": raw(text({"type": "array", "items": EMPTY}), POSITION + long(2**40) + long(0)),
    "billions of fixed 0": raw(
        text({"type": "array", "items": {"type": "fixed", "name": "z", "size": 0}}), POSITION + long(2**40)
    ),
    "thousands of nulls an element": raw(text({"type": "array", "items": NULLS}), POSITION + long(2**31) + long(0)),
    "a branch of nulls": raw(text({"type": "array", "items": ["int", NULLS]}), POSITION + long(MIB) + b"\2" * MIB),
    "billions of longs": raw(text({"type": "array", "items": "long"}), POSITION + long(2**62) + bytes(100)),
    "negative count": raw(text({"type": "array", "items": "long"}), POSITION + long(-(2**63)) + long(8) + bytes(100)),
    "megabytes of small items": raw(
        text({"type": "array", "items": "long"}), POSITION + long(8 * MIB) + bytes(8 * MIB + 1)
    ),
    "megabytes of empty strings in maps": raw(
        text(nest(2, "string", "values", "map")), POSITION + long(2 * MIB) + b"\0\0" * (2 * MIB) + long(0)
    ),
    "wide records of nulls": raw(
        text({"type": "array", "items": WIDE}), POSITION + long(1000) + bytes(500 * 1000) + long(0)
    ),
    "deep arrays": raw(text(nest(200, "int")), POSITION),
    "deep json": raw(b'{"type":"record","fields":' + b"[" * 400_000, POSITION),
    "deep json objects": raw(b'{"type":' * 100_000, POSITION),
    "schema of 8 MiB": raw(b" " * 8 * MIB, POSITION),
    "many fields": raw(text(*["int"] * 40_000), POSITION),
    "huge fixed": raw(text({"type": "fixed", "name": "z", "size": 2**62}), POSITION),
    "huge number": raw(b'{"type":"record","name":"a","fields":[],"n":' + b"9" * 100_000 + b"}", POSITION),
    "invalid UTF-8 in the schema": raw(text()[:-1] + b',"doc":"\xff"}', POSITION),
    "invalid UTF-8 in a string": raw(text("string"), POSITION + long(2) + b"\xff\xfe"),
    "string of most length": raw(text("string"), POSITION + long(2**63 - 1)),
    "number without end": raw(text("long"), POSITION + b"\xff" * MIB),
    "symbols at will": raw(text({"type": "enum", "name": "e", "symbols": ["A"]}), POSITION + long(10**9)),
    "deflate bomb": raw(text("bytes"), deflated_zeros(300), codec=b"deflate"),
    "snappy claim": raw(text("bytes"), b"\xff\xff\xff\xff\x0f" + bytes(100), codec=b"snappy"),
    "many records of nothing": raw(b'{"type":"record","name":"a","fields":[]}', b"", count=2**40),
    "many records": raw(text(), POSITION, count=2**62),
    "many metadata": b"Obj\x01" + long(2**40) + b"\0" * MIB,
    "metadata blocks": b"Obj\x01" + (long(-1) + long(9) + long(1) + b"k" + long(0)) * 100_000,
    "zeros": bytes(8 * MIB),
    "magic and zeros": b"Obj\x01" + bytes(8 * MIB),
    "web page": b"<!DOCTYPE html><html>" + b"<p>404</p>" * 1000,
    "empty": b"",
    "names that double": raw(text(doubling(25)), POSITION + bytes(100)),
    "codec of anything": raw(text(), POSITION, codec=b"bzip2"),
}

CHILD = """
import resource, sys
from pathlib import Path
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import assemble
from xmatch_hats.alerts.ztf33 import Ztf33Output
from xmatch_hats.errors import PacketError

folder = Path(sys.argv[1])
reader = PacketReader()
reader.read((folder / "good").read_bytes())
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (900 << 20), used + (900 << 20)))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sorted(folder.iterdir()):
    output = Ztf33Output()
    try:
        packet = reader.read(path.read_bytes())
        header, encode = output.begin(packet)
        assemble(header, packet, [encode(alert, b"\\2") for alert in packet.alerts])
        verdict = "passed"
    except PacketError as error:
        verdict = f"refused {error}"
    print(path.name, verdict, sep="\\t", flush=True)
"""

SAFE = {"wide records of nulls", "good"}
"""What is large, or odd, but has the bytes to show for all it claims."""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    for name, data in {**HOSTILE, "good": pack([small_alert()])}.items():
        (folder / name).write_bytes(data)
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return dict(line.split("\t", 1) for line in result.stdout.splitlines())


@pytest.mark.parametrize("name", [*HOSTILE, "good"])
def test_hostile_packets_are_refused_and_nothing_dies(verdicts, name):
    assert verdicts[name].startswith("passed" if name in SAFE else "refused"), verdicts[name]
