from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.store.databases import execute, in_threads, tables_of
from tests.store.detections import (
    Answer,
    Detection,
    catalog_matches,
    expected_tables,
    facts,
    wise,
    write,
)
from xmatch_hats.errors import StoreError
from xmatch_hats.store.store import Store


def test_a_matched_alert_fills_three_tables(store, url):
    counts = write(store, Detection(facts("ZTF18abc"), wise("J1", 0.25)))
    tables = tables_of(url)
    assert tables["object"] == [
        {
            "oid": "ZTF18abc",
            "ndethist": 7,
            "ncovhist": 70,
            "mjdstarthist": 58300.0,
            "mjdendhist": 59000.25,
            "firstmjd": 59000.25,
            "lastmjd": 59000.25,
            "ndet": 1,
            "deltajd": 0.0,
            "meanra": 10.5,
            "meandec": -5.25,
            "step_id_corr": "0.0.0",
            "corrected": False,
            "stellar": False,
        }
    ]
    assert tables["xmatch"] == [
        {
            "oid": "ZTF18abc",
            "catid": "allwise",
            "oid_catalog": "J1",
            "dist": 0.25,
            "class_catalog": None,
            "period": None,
        }
    ]
    (row,) = tables["allwise"]
    assert {name: value for name, value in row.items() if value is not None} == {
        "oid_catalog": "J1",
        "ra": 10.5001,
        "dec": -5.2501,
        "w1mpro": 12.5,
    }
    assert counts == {"object": 1, "allwise": 1, "xmatch": 1}


def test_an_unmatched_alert_writes_and_deletes_nothing(store, url):
    write(store, Detection(facts(), wise()))
    before = tables_of(url)
    assert write(store, Detection(facts()), Detection(facts("ZTF2")), Detection(facts(None))) == {}
    assert write(store) == {}
    assert tables_of(url) == before


def test_a_catalogue_without_a_table_writes_its_match_only(store, url):
    write(store, Detection(facts(), {"gcvs": Answer(2**60 + 1, 0.75)}))
    tables = tables_of(url)
    assert len(tables["object"]) == 1
    assert tables["allwise"] == []
    assert [(row["catid"], row["oid_catalog"], row["dist"]) for row in tables["xmatch"]] == [
        ("gcvs", str(2**60 + 1), 0.75)
    ]


def test_the_first_alert_makes_the_object_and_the_last_its_matches(store, url):
    stream = [
        Detection(facts("A", ndethist=1)),
        Detection(facts("A", ndethist=2), {"gcvs": Answer(5)}),
        Detection(facts("A", ndethist=3), wise("J1", 0.1)),
        Detection(facts("B"), wise("J1", 0.2, w1mpro=13.5)),
        Detection(facts("A", ndethist=4), wise("J2", 0.3)),
        Detection(facts("A", ndethist=5)),
    ]
    assert write(store, *stream) == {"object": 2, "allwise": 2, "xmatch": 3}
    tables = tables_of(url)
    assert tables == expected_tables(stream)
    assert tables["object"][0]["ndethist"] == 2
    assert [row["w1mpro"] for row in tables["allwise"]] == [13.5, 12.5]
    assert [(row["oid"], row["catid"], row["oid_catalog"]) for row in tables["xmatch"]] == [
        ("A", "allwise", "J2"),
        ("A", "gcvs", "5"),
        ("B", "allwise", "J1"),
    ]


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_copies_of_one_catalogue_the_later_alert_decides(store, url, swapped):
    alerts = [facts("A"), facts("B")]
    (first, _), (second, _) = (
        catalog_matches([Detection(alerts[0], wise("J1", w1mpro=1.0))]),
        catalog_matches([Detection(alerts[1], wise("J1", w1mpro=2.0))]),
    )
    second = dataclasses.replace(second, catid="allwise-2", alert=np.array([1]))
    store.write(alerts, [second, first] if swapped else [first, second])
    tables = tables_of(url)
    assert [row["w1mpro"] for row in tables["allwise"]] == [2.0]
    assert [(row["oid"], row["catid"]) for row in tables["xmatch"]] == [("A", "allwise"), ("B", "allwise-2")]


def test_a_new_crossmatch_corrects_old_rows(store, url):
    write(store, Detection(facts(), wise("J1", 0.9, w1mpro=10.0, w2mpro=11.0)))
    write(store, Detection(facts(), wise("J1", 0.8, w1mpro=10.5, w2mpro=None)))
    tables = tables_of(url)
    assert [(row["w1mpro"], row["w2mpro"]) for row in tables["allwise"]] == [(10.5, None)]
    assert [(row["oid_catalog"], row["dist"]) for row in tables["xmatch"]] == [("J1", 0.8)]
    write(store, Detection(facts(), wise("J2", 0.1)))
    tables = tables_of(url)
    assert [row["oid_catalog"] for row in tables["allwise"]] == ["J1", "J2"]
    assert [(row["oid_catalog"], row["dist"]) for row in tables["xmatch"]] == [("J2", 0.1)]


def test_objects_that_others_have_changed_stay(store, url):
    write(store, Detection(facts(), wise("J1")))
    execute(url, "UPDATE object SET ndet = 12, lastmjd = 60000, corrected = true, step_id_corr = 'corr 1.0'")
    before = tables_of(url)
    write(store, Detection(facts(ndethist=99), wise("J1")))
    assert tables_of(url) == before


def test_what_others_know_of_a_source_goes_with_the_source(store, url):
    write(store, Detection(facts("A"), wise("J1", 0.9)), Detection(facts("B"), wise("J1", 0.9)))
    execute(url, "UPDATE xmatch SET class_catalog = 'QSO', period = 2.5")
    write(store, Detection(facts("A"), wise("J1", 0.8)), Detection(facts("B"), wise("J2", 0.1)))
    rows = [(row["oid_catalog"], row["dist"], row["class_catalog"], row["period"]) for row in tables_of(url)["xmatch"]]
    assert rows == [("J1", 0.8, "QSO", 2.5), ("J2", 0.1, None, None)]


def test_counts_of_batches_add_up(store):
    total = write(store, Detection(facts("A"), wise())) + write(store, Detection(facts(None), wise()))
    assert total == {"object": 1, "allwise": 1, "xmatch": 1, "no-oid": 1}


def test_the_step_is_written_once(store, url):
    store.write_step()
    (row,) = tables_of(url, ["step"])["step"]
    assert (row["step_id"], row["name"], row["version"], row["comments"]) == ("1.2.3", "1.2.3", "1.2.3", "")
    written = row["date"] if isinstance(row["date"], datetime) else datetime.fromisoformat(row["date"])
    assert abs(datetime.now(UTC).replace(tzinfo=None) - written) < timedelta(minutes=1)
    store.write_step()
    assert tables_of(url, ["step"])["step"] == [row]
    other = Store.open(url)
    other.write_step()
    other.close()
    assert [row["step_id"] for row in tables_of(url, ["step"])["step"]] == ["1.2.3", "dev"]


def test_stores_that_write_the_same_objects_wait_for_each_other(store, url):
    names = [f"ZTF{number:03d}" for number in range(60)]
    stream = [Detection(facts(name), {**wise(f"J{name}"), "gcvs": Answer(int(name[3:]))}) for name in names]
    other = Store.open(url)

    def write_often(store, stream, distance):
        for turn in range(12):
            changed = [
                Detection(
                    d.facts, {**d.answers, "allwise": dataclasses.replace(d.answers["allwise"], dist=turn + distance)}
                )
                for d in stream
            ]
            write(store, *changed)

    failures = in_threads(
        lambda: write_often(store, stream, 0.25),
        lambda: write_often(other, stream[::-1], 0.5),
    )
    other.close()
    assert failures == []
    tables = tables_of(url)
    assert [row["oid"] for row in tables["object"]] == names
    assert len({row["dist"] for row in tables["xmatch"] if row["catid"] == "allwise"}) == 1


def test_a_refusal_leaves_nothing_of_the_batch(store, url):
    execute(url, "ALTER TABLE xmatch RENAME TO elsewhere")
    with pytest.raises(StoreError) as caught:
        write(store, Detection(facts(), wise()))
    assert "xmatch" in caught.value.message
    assert "db check" in caught.value.hint
    assert caught.value.place == store.place
    assert tables_of(url, ["object", "allwise"]) == {"object": [], "allwise": []}
    execute(url, "ALTER TABLE elsewhere RENAME TO xmatch")
    assert write(store, Detection(facts(), wise())) == {"object": 1, "allwise": 1, "xmatch": 1}


def test_a_store_works_again_after_it_was_closed(store, url):
    store.close()
    write(store, Detection(facts(), wise()))
    assert len(tables_of(url)["object"]) == 1


def test_opening_connects_to_nothing(tmp_path):
    Store.open(f"sqlite:///{tmp_path}/tables.db").close()
    assert list(tmp_path.iterdir()) == []
    Store.open("postgresql://nobody@127.0.0.1:1/none").close()
