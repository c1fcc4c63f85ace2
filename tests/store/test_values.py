from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tests.store.databases import tables_of
from tests.store.detections import Answer, Detection, catalog_matches, facts, wise, write
from xmatch_hats.errors import UsageError
from xmatch_hats.store.store import Store


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"oid": None}, "no-oid"),
        ({"oid": ""}, "no-oid"),
        ({"oid": "ZTF\0"}, "bad-oid"),
        ({"oid": "ZTF\udc80"}, "bad-oid"),
        ({"oid": "Z" * 1001}, "bad-oid"),
        ({"oid": "\u00fc" * 501}, "bad-oid"),
        ({"oid": 1.5}, "bad-oid"),
        ({"oid": b"ZTF"}, "bad-oid"),
        ({"ra": math.nan}, "no-position"),
        ({"dec": None}, "no-position"),
        ({"jd": None}, "no-jd"),
        ({"jd": math.inf}, "no-jd"),
        ({"jd": "2459000.5"}, "no-jd"),
        ({"ndethist": None}, "no-ndethist"),
        ({"ndethist": 2**31}, "no-ndethist"),
        ({"ndethist": 1.5}, "no-ndethist"),
        ({"ncovhist": None}, "no-ncovhist"),
        ({"ncovhist": -(2**31) - 1}, "no-ncovhist"),
        ({"ndethist": None, "ncovhist": None, "jd": None}, "no-jd"),
    ],
)
def test_alerts_that_the_tables_cannot_hold_are_counted(store, url, changes, reason):
    lacking = Detection(facts(**changes), {**wise("J1"), "gcvs": Answer(5)})
    counts = write(store, lacking, Detection(facts("good"), wise("J2")), lacking)
    assert counts.left_out == {reason: 2}
    assert counts.rows == {"object": 1, "allwise": 1, "xmatch": 1}
    tables = tables_of(url)
    assert [row["oid"] for row in tables["object"]] == ["good"]
    assert [row["oid_catalog"] for row in tables["allwise"]] == ["J2"]
    assert [row["oid"] for row in tables["xmatch"]] == ["good"]


def test_the_longest_names_are_held(store, url):
    # Random letters: PostgreSQL compresses what goes into an index, and this must fit without.
    letters = np.random.default_rng(3).integers(0x21, 0x7F, size=(2, 1000), dtype=np.uint8)
    oid, source = (row.tobytes().decode() for row in letters)
    assert write(store, Detection(facts(oid), wise(source))).left_out == {}
    tables = tables_of(url)
    assert tables["xmatch"][0]["oid"] == tables["object"][0]["oid"] == oid
    assert tables["xmatch"][0]["oid_catalog"] == tables["allwise"][0]["oid_catalog"] == source


def test_numbers_name_objects_too(store, url):
    write(store, Detection(facts(170032915988086808), wise()), Detection(facts(np.int64(7)), wise()))
    assert [row["oid"] for row in tables_of(url)["object"]] == ["170032915988086808", "7"]


@pytest.mark.parametrize("source", [None, "", "J\0"])
def test_a_source_without_a_name_is_counted_and_its_object_written(store, url, source):
    counts = write(store, Detection(facts("A"), wise(source)), Detection(facts("B"), wise("J1")))
    assert counts == {"object": 2, "allwise": 1, "xmatch": 1, "no-catalog-id": 1}
    assert [row["oid"] for row in tables_of(url)["object"]] == ["A", "B"]


def test_names_from_a_dictionary_column(store, url):
    match = catalog_matches([Detection(facts(), wise("J1"))])[0]
    rows = match.rows.set_column(0, "designation", match.rows["designation"].dictionary_encode())
    store.write([facts()], [dataclasses.replace(match, rows=rows)])
    assert [row["oid_catalog"] for row in tables_of(url)["xmatch"]] == ["J1"]


def test_columns_that_are_missing_are_named_before_anything_is_written(store, url):
    match = catalog_matches([Detection(facts(), wise("J1"))])[0]
    lacking = dataclasses.replace(match, rows=match.rows.drop_columns(["w4mpro", "j_m_2mass"]))
    with pytest.raises(UsageError, match=r"catalogue allwise: rows .* lack the columns w4mpro, j_m_2mass"):
        store.write([facts()], [match, lacking])
    with pytest.raises(UsageError, match="no catalogue has a table 'gaia'"):
        store.write([facts()], [dataclasses.replace(match, table="gaia")])
    assert tables_of(url)["object"] == []


def test_what_is_not_finite_becomes_null(store, url):
    holes = {"w1mpro": math.nan, "w2mpro": math.inf, "w3mpro": -math.inf, "w4mpro": None}
    write(store, Detection(facts(jdstarthist=math.nan, jdendhist=None), wise("J1", **holes)))
    tables = tables_of(url)
    assert [tables["allwise"][0][name] for name in holes] == [None] * 4
    assert tables["object"][0]["mjdstarthist"] is None
    assert tables["object"][0]["mjdendhist"] is None


def test_empty_batches_need_no_database():
    store = Store.open("postgresql://nobody@127.0.0.1:1/none")
    assert store.write([facts()], []) == {}
    assert store.write([facts(None)], catalog_matches([Detection(facts(None), wise())])) == {"no-oid": 1}
