from __future__ import annotations

import copy
import io
import json
import math
import random
import re
from pathlib import Path

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form

from tests.alerts.makers import SMALL_SCHEMA, load_ztf_schema, pack, random_value, schema_of, small_alert, unpack
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import assemble
from xmatch_hats.alerts.xmatches import NULL_XMATCHES
from xmatch_hats.alerts.ztf33 import Ztf33Output
from xmatch_hats.alerts.ztf33_schema import SCHEMA
from xmatch_hats.errors import PacketError

PARSED = fastavro.parse_schema(copy.deepcopy(SCHEMA))


def convert(data: bytes, output: Ztf33Output | None = None, reader: PacketReader | None = None) -> bytes:
    packet = (reader or PacketReader()).read(data)
    header, encode = (output or Ztf33Output()).begin(packet)
    return b"".join(assemble(header, packet, [encode(alert, NULL_XMATCHES) for alert in packet.alerts]))


def mended(value):
    """A schema's defaults as Avro wants them."""
    if isinstance(value, dict):
        return {k: None if k == "default" and v == "null" else mended(v) for k, v in value.items()}
    return [mended(item) for item in value] if isinstance(value, list) else value


def test_the_canonical_form_is_the_one_that_consumers_know(shared_data):
    text = (shared_data.parent / "reference" / "xmatch_step_README.txt").read_text()
    text = text[text.index("### Output schema") :]
    main, *parts = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    names = re.findall(r"#### (\w+)\n```json", text)
    for name, part in zip(names, parts, strict=False):
        main = re.sub(rf"(?<!\w){name}(?!\w)", lambda _, part=part: part, main)
    known = mended(json.loads(re.sub(r",(\s*[}\]])", r"\1", main)))
    assert to_parsing_canonical_form(PARSED) == to_parsing_canonical_form(fastavro.parse_schema(known))


def expected_field(field: dict, source: dict, older: dict[str, str]):
    """What the rules say of a scalar field."""
    kind = field["type"]
    value = source.get(field["name"], source.get(older.get(field["name"])))
    if value is not None:
        return str(value) if "string" in (kind, kind[0]) else value
    return None if isinstance(kind, list) else {"string": "", "bytes": b""}.get(kind, 0)


OLDER = {f"{band}1": band for band in ("sgmag", "srmag", "simag", "szmag", "sgscore")}


def check_record(schema: dict, source: dict, found: dict, place: str) -> None:
    assert list(found) == [field["name"] for field in schema["fields"]]
    for field in schema["fields"]:
        expected = expected_field(field, source, OLDER)
        value = found[field["name"]]
        same = value == expected or (value != value and expected != expected)
        assert same or math.isclose(value, expected, rel_tol=1e-6), f"{place}.{field['name']}"


def check_alert(source: dict, found: dict, version: str | None) -> None:
    fields = {field["name"]: field["type"] for field in SCHEMA["fields"]}
    assert list(found) == list(fields)
    assert found["schemavsn"] == (version or source.get("schemavsn", ""))
    assert found["publisher"] == (source.get("publisher") or "")
    assert found["objectId"] == (source.get("objectId") or "")
    assert found["candid"] == source.get("candid", source["candidate"].get("candid"))
    check_record(fields["candidate"], source["candidate"], found["candidate"], "candidate")
    previous = source.get("prv_candidates")
    if previous is None:
        assert found["prv_candidates"] is None
    else:
        assert len(found["prv_candidates"]) == len(previous)
        for old, new in zip(previous, found["prv_candidates"], strict=True):
            check_record(fields["prv_candidates"][0]["items"], old, new, "prv_candidates")
    for cutout in ("cutoutScience", "cutoutTemplate", "cutoutDifference"):
        assert found[cutout] == source.get(cutout)
    assert found["xmatches"] is None


def is_library_encoding(data: bytes) -> bool:
    """Whether the records are the bytes that an Avro library gives for them."""
    packet = PacketReader().read(data)
    for alert, record in zip(packet.alerts, unpack(data), strict=True):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, PARSED, record)
        if buffer.getvalue() != bytes(alert.original()):
            return False
    return True


def test_every_real_alert_converts(real_packets):
    output, reader = Ztf33Output(), PacketReader()
    total, schemas = 0, set()
    for number, (name, data) in enumerate(real_packets.items()):
        new = convert(data, output, reader)
        before, after = unpack(data), unpack(new)
        assert schema_of(new) == SCHEMA
        schema = schema_of(data)
        # Encoding all with the library takes a quarter of a minute: the first of each schema, and a tenth of all.
        assert (number % 10 and str(schema) in schemas) or is_library_encoding(new), name
        schemas.add(str(schema))
        version = schema.get("version")
        for source, found in zip(before, after, strict=True):
            check_alert(source, found, version)
        total += len(after)
    assert total == 588
    assert output.dropped["fp_hists"] == 34
    assert output.dropped["prv_candidates.forcediffimflux"] == 51
    assert output.dropped["cdsxmatch"] > 0
    assert "candidate.sgmag" not in output.dropped


def test_every_official_version_converts(shared_data):
    rng = random.Random(11)
    for folder in sorted((shared_data / "schemas" / "ztf").iterdir()):
        schema = load_ztf_schema(folder)
        records = [random_value(schema, rng) for _ in range(10)]
        data = pack(records, schema, codec="snappy", sync_interval=4000)
        new = convert(data)
        assert is_library_encoding(new)
        for source, found in zip(unpack(data), unpack(new), strict=True):
            check_alert(source, found, schema.get("version"))


def test_what_official_versions_lose_is_documented(shared_data):
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "packets.md").read_text()
    lost = Ztf33Output()
    rng = random.Random(1)
    for folder in (shared_data / "schemas" / "ztf").iterdir():
        schema = load_ztf_schema(folder)
        convert(pack([random_value(schema, rng)], schema), lost)
    assert len(lost.dropped) > 20
    assert [name for name in lost.dropped if f"`{name.rpartition('.')[2]}`" not in text] == []


def test_what_is_dropped_is_counted(shared_data):
    output = Ztf33Output()
    schema = load_ztf_schema(shared_data / "schemas" / "ztf" / "v1.1")
    convert(pack([random_value(schema, random.Random(i)) for i in range(3)], schema), output)
    assert output.dropped == {"alertId": 3}


def test_packets_of_3_3_are_not_decoded(shared_data, monkeypatch):
    schema = load_ztf_schema(shared_data / "schemas" / "ztf" / "v3.3")
    record = random_value(schema, random.Random(1)) | {"schemavsn": "3.3"}
    monkeypatch.setattr(fastavro, "schemaless_reader", None)
    data = pack([record], schema)
    assert unpack(convert(data)) == [unpack(data)[0] | {"xmatches": None}]


@pytest.mark.parametrize("place", [0, 3, 9])
@pytest.mark.parametrize("version", ["3.3", "3.1"])
def test_an_old_xmatches_is_replaced_wherever_it_stood(shared_data, place, version):
    schema = load_ztf_schema(shared_data / "schemas" / "ztf" / "v3.3")
    schema["fields"].insert(place, {"name": "xmatches", "type": {"type": "map", "values": "long"}})
    record = random_value(schema, random.Random(place)) | {"schemavsn": version, "xmatches": {"old": 1}}
    data = pack([record], schema)
    (found,) = unpack(convert(data))
    check_alert(unpack(data)[0], found, "3.3")


def loose_schema(**candidate) -> dict:
    """Alerts of somebody else: odd types, everything nullable."""
    fields = [{"name": name, "type": kind} for name, kind in candidate.items()]
    return {
        "type": "record",
        "name": "other",
        "fields": [
            {"name": "schemavsn", "type": ["string", "null"]},
            {"name": "candidate", "type": ["null", {"type": "record", "name": "c", "fields": fields}]},
            {"name": "prv_candidates", "type": ["null", "string", {"type": "array", "items": ["null", "c"]}]},
            {
                "name": "cutoutScience",
                "type": [
                    "null",
                    {"type": "record", "name": "cut", "fields": [{"name": "fileName", "type": ["null", "string"]}]},
                ],
            },
        ],
    }


def test_values_are_made_to_fit():
    schema = loose_schema(
        ra="double",
        dec="double",
        jd="float",
        fid="double",
        pid="string",
        nid="long",
        rcid="boolean",
        magpsf="double",
        sigmapsf="double",
        chipsf="int",
        isdiffpos="int",
        field="double",
        rbversion="bytes",
    )
    candidate = {
        "ra": 1.0,
        "dec": 2.0,
        "jd": 2.5,
        "fid": 2.0,
        "pid": "17",
        "nid": 2**40,
        "rcid": True,
        "magpsf": 1e300,
        "sigmapsf": float("nan"),
        "chipsf": 3,
        "isdiffpos": 1,
        "field": 0.5,
        "rbversion": b"x",
    }
    alert = {
        "schemavsn": None,
        "candidate": candidate,
        "prv_candidates": [None, candidate],
        "cutoutScience": {"fileName": None},
    }
    output = Ztf33Output()
    (found,) = unpack(convert(pack([alert], schema), output))
    new = found["candidate"]
    assert (new["jd"], new["fid"], new["rcid"], new["chipsf"], new["isdiffpos"]) == (2.5, 2, 1, 3.0, "1")
    assert new["magpsf"] == math.inf
    assert math.isnan(new["sigmapsf"])
    assert (new["pid"], new["nid"], new["field"], new["rbversion"]) == (0, None, None, "")
    assert found["schemavsn"] == ""
    assert found["cutoutScience"] == {"fileName": "", "stampData": b""}
    assert len(found["prv_candidates"]) == 1
    lost = {"pid", "nid", "field", "rbversion"}
    assert set(output.dropped) == {f"{part}.{name}" for part in ("candidate", "prv_candidates") for name in lost} | {
        "prv_candidates"
    }


def test_a_field_of_another_kind_is_dropped():
    schema = loose_schema(ra="double", dec="double")
    alert = {"schemavsn": "x", "candidate": {"ra": 1.0, "dec": 2.0}, "prv_candidates": "none", "cutoutScience": None}
    output = Ztf33Output()
    (found,) = unpack(convert(pack([alert], schema), output))
    assert found["prv_candidates"] is None
    assert found["schemavsn"] == "x"
    assert output.dropped == {"prv_candidates": 1}


def test_what_is_no_ztf_alert_is_refused():
    schema = json.loads(json.dumps(SMALL_SCHEMA).replace('"candidate"', '"source"'))
    record = small_alert()
    record["source"] = record.pop("candidate")
    from xmatch_hats.alerts.plan import FieldPaths

    packet = PacketReader(FieldPaths(ra="source.ra", dec="source.dec")).read(pack([record], schema))
    with pytest.raises(PacketError, match="no field candidate"):
        Ztf33Output().begin(packet)
    alert = {"schemavsn": None, "candidate": None, "prv_candidates": None, "cutoutScience": None}
    with pytest.raises(PacketError, match="candidate is null"):
        convert(pack([alert], loose_schema(ra="double", dec="double")))
