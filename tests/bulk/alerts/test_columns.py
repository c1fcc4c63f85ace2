"""The columns of alerts: every field of every version of the schema, with its type."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from tests.alerts.makers import load_ztf_schema
from xmatch_hats.alerts.packet import Alert
from xmatch_hats.bulk.alerts.columns import (
    ALERT_FIELDS,
    DEFAULT_COLUMNS,
    check_columns,
    check_values,
    make_rows,
    row_schema,
)
from xmatch_hats.errors import PacketError, UsageError

_ARROW = {"int": pa.int32(), "long": pa.int64(), "float": pa.float32(), "double": pa.float64(), "string": pa.string()}


def made(extra, candid=7) -> Alert:
    return Alert(b"", 0, 0, None, 1.0, 2.0, "ZTF1", candid, extra)


def test_all_versions(shared_data):
    seen = set()
    for folder in sorted((shared_data / "schemas" / "ztf").iterdir()):
        fields = load_ztf_schema(folder)["fields"]
        (candidate,) = (field["type"] for field in fields if field["name"] == "candidate")
        for field in candidate["fields"]:
            kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
            (kind,) = (kind for kind in kinds if kind != "null")
            seen.add(field["name"])
            # One version has a number where all others have text.
            if (field["name"], kind) != ("isdiffpos", "int"):
                assert ALERT_FIELDS[field["name"]] == _ARROW[kind], (folder.name, field["name"])
    assert seen == ALERT_FIELDS.keys()


def test_names():
    assert check_columns(None) == DEFAULT_COLUMNS
    assert check_columns(["ra", "rcid", "jd", "rcid"]) == (*DEFAULT_COLUMNS, "rcid")
    with pytest.raises(UsageError, match=r"candidate\.nope"):
        check_columns(["nope"])


def test_values_become_rows():
    schema = row_schema(("jd", "fid", "isdiffpos", "rb"))
    alerts = [
        made((2458288.5, 1, "t", 0.5)),
        made((None, None, 1, math.nan), None),
        made((3, 2, None, None), 2**63 - 1),
    ]
    table = make_rows([(0, 0), (1, 0), (1, 1)], alerts, "night", schema)
    assert table.schema.equals(schema, check_metadata=True)
    assert table["candid"].to_pylist() == [7, None, 2**63 - 1]
    assert table["jd"].to_pylist() == [2458288.5, None, 3.0]
    assert table["isdiffpos"].to_pylist() == ["t", "1", None]
    assert math.isnan(table["rb"][1].as_py())
    assert table["record"].to_pylist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("extra", "candid", "words"),
    [
        (("today", 1), 7, "'today' as jd, which is no double"),
        ((1.0, 1.5), 7, "as fid, which is no int32"),
        ((1.0, 2**31), 7, "as fid"),
        ((1.0, 1), "seven", "as candid, which is no int64"),
    ],
)
def test_values_that_no_column_holds(extra, candid, words):
    check_values(made((1.0, 1)), ("jd", "fid"), 0)
    check_values(made((None, None), None), ("jd", "fid"), 0)
    with pytest.raises(PacketError, match=words):
        check_values(made(extra, candid), ("jd", "fid"), 0)
