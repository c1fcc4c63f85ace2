from __future__ import annotations

import pytest

from tests.alerts.makers import SMALL_SCHEMA, load_ztf_schema
from tests.alerts.messages import LSST_SCHEMA, single
from xmatch_hats.alerts.fingerprint import schema_fingerprint
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.schema import parse_schema

KNOWN_FINGERPRINTS = {
    "null": 7195948357588979594,
    "boolean": -6970731678124411036,
    "int": 8247732601305521295,
}
"""As the Avro project's own schema tests have them, signed."""


@pytest.mark.parametrize(("schema", "number"), KNOWN_FINGERPRINTS.items())
def test_fingerprints_are_those_of_avro(schema, number):
    assert schema_fingerprint(parse_schema(schema, FILE_LIMITS)) == number.to_bytes(8, "little", signed=True)


ODD_SCHEMA = {
    "type": "record",
    "name": "a.b.top",
    "doc": "a \" quote",
    "aliases": ["old"],
    "fields": [
        {"name": "e", "type": {"type": "enum", "name": "e_t", "symbols": ["A", "B"], "default": "A"}, "default": "B"},
        {"name": "f", "type": {"type": "fixed", "name": "other.f_t", "size": 12, "logicalType": "duration"}},
        {"name": "again", "type": ["null", "e_t", "other.f_t", {"type": "map", "values": {"type": "string"}}]},
        {"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}, "order": "ignore"},
    ],
}  # fmt: skip


def test_fingerprints_of_whole_schemas(shared_data):
    folders = sorted((shared_data / "schemas" / "ztf").iterdir())
    for schema in [ODD_SCHEMA, LSST_SCHEMA, SMALL_SCHEMA, *map(load_ztf_schema, folders)]:
        assert single(schema, b"")[2:] == schema_fingerprint(parse_schema(schema, FILE_LIMITS))
