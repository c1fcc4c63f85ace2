"""All nights in one: the same rows in whatever order archives were matched, and one alert of each number if asked."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.bulk.alerts.nights import alert, packet, read_output, write_archive
from tests.bulk.alerts.test_run import run
from tests.copies import make_copy
from tests.folders import contents
from xmatch_hats.bulk.alerts import merge as merging
from xmatch_hats.bulk.alerts.gather import repeated
from xmatch_hats.bulk.alerts.merge import merge_nights
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, UsageError

NIGHTS = {
    "b_20180618.tar": [4, 5, 4, 6],
    "a_20180619.tar": [9, 6, 8, 9, 5],
    "c_20180617.tar": [4, 1, 8],
}
FIRST = {1: "c", 4: "b", 5: "a", 6: "a", 8: "a", 9: "a"}
"""Which archive keeps each alert: the smallest name, whatever its night."""


def match(sky, folder, names, kinds=("hats", "parquet", "parquet")):
    for name, kind in zip(names, kinds, strict=False):
        numbers = NIGHTS[name]
        members = [
            (f"{place}.avro", packet(alert(number, float(sky.ra[number]), float(sky.dec[number]))))
            for place, number in enumerate(numbers)
        ]
        run([write_archive(folder.parent / name, members)], sky.catalog, folder, kind=kind)


@pytest.fixture(scope="module")
def nights(sky, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge") / "nights"
    match(sky, folder, NIGHTS)
    return folder


def test_all_rows_are_there(nights, tmp_path):
    report = merge_nights(nights, tmp_path / "merged", workers=0)
    assert (report.rows, report.archives, report.duplicates, report.duplicates_removed) == (12, 3, 6, 0)
    assert verify_copy(report.path).passed
    table = read_output(report.path)
    assert table["candid"].to_pylist() == [
        *NIGHTS["a_20180619.tar"],
        *NIGHTS["b_20180618.tar"],
        *NIGHTS["c_20180617.tar"],
    ]
    summary = json.loads((report.path / "_bulk" / "summary.json").read_text())
    assert [one["archive"] for one in summary["archives"]] == ["a_20180619", "b_20180618", "c_20180617"]
    assert LocalCopy.open(report.path).total_rows == 12


def test_one_alert_of_each_number(nights, sky, tmp_path, monkeypatch):
    report = merge_nights(nights, tmp_path / "merged", dedup=True, workers=0)
    assert (report.rows, report.duplicates_removed) == (6, 6)
    table = read_output(report.path)
    kept = dict(zip(table["candid"].to_pylist(), table["archive_name"].to_pylist(), strict=True))
    assert {number: name[0] for number, name in kept.items()} == FIRST
    assert dict(zip(table["candid"].to_pylist(), table["member"].to_pylist(), strict=True))[9] == 0
    # In another order, of other forms, and a few numbers at a time.
    again = tmp_path / "again" / "nights"
    again.parent.mkdir()
    match(sky, again, reversed(NIGHTS), ("hats", "hats", "parquet"))
    monkeypatch.setattr(merging, "BUCKET_ROWS", 3)
    other = merge_nights(again, dedup=True, workers=0)
    assert other.path == again / "merged"
    data = [{name: data for name, data in contents(one.path).items() if "Npix=" in name} for one in (report, other)]
    assert data[0].keys() == data[1].keys()
    assert read_output(other.path).drop_columns(["_row"]).equals(table.drop_columns(["_row"]))


def test_an_earlier_one_is_replaced_and_nothing_else(nights, tmp_path):
    out = tmp_path / "merged"
    merge_nights(nights, out, workers=0)
    assert merge_nights(nights, out, dedup=True, workers=0).rows == LocalCopy.open(out).total_rows == 6
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("x")
    with pytest.raises(CatalogError, match="exists already"):
        merge_nights(nights, other, workers=0)
    assert contents(other) == {"mine": b"x"}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("night=20180618/archive=new", "would lie among those that it is made of"),
        ("night=20180619/archive=a_20180619/merged", "would lie among those"),
        ("catalog/merged", "would lie in the catalogue"),
    ],
)
def test_an_output_among_what_is_read_is_refused(nights, sky, tmp_path, place, words):
    (tmp_path / "nights").symlink_to(nights)
    (tmp_path / "catalog").symlink_to(sky.catalog)
    out = tmp_path / place if place.startswith("catalog") else tmp_path / "nights" / place
    with pytest.raises(UsageError, match=words):
        merge_nights(nights, out, workers=0)
    assert not out.exists()


def test_what_cannot_be_merged(nights, sky, tmp_path):
    with pytest.raises(UsageError, match="no matched archives here"):
        merge_nights(tmp_path)
    match(sky, tmp_path / "nights", ["a_20180619.tar"], ["parquet"])
    place = write_archive(tmp_path / "d_20180616.tar", [("x.avro", packet(alert(1, 0.0, 0.0)))])
    run([place], sky.catalog, tmp_path / "nights", kind="parquet", columns=["rcid"])
    with pytest.raises(CatalogError, match="has other columns than a_20180619"):
        merge_nights(tmp_path / "nights", workers=0)


@pytest.mark.parametrize("kinds", [("hats", "hats"), ("parquet", "parquet")])
def test_archives_without_rows(sky, tmp_path, kinds):
    empty = write_archive(tmp_path / "e_20180616.tar", [])
    run([empty], sky.catalog, tmp_path / "nights", kind=kinds[0])
    report = merge_nights(tmp_path / "nights", workers=0)
    assert (report.rows, report.archives) == (0, 1)
    assert verify_copy(report.path).passed
    match(sky, tmp_path / "nights", ["a_20180619.tar"], kinds)
    report = merge_nights(tmp_path / "nights", workers=0)
    assert (report.rows, report.archives) == (5, 2)
    assert verify_copy(report.path).passed


def test_archives_that_were_matched_otherwise(sky, tmp_path):
    from xmatch_hats.bulk.alerts.archives import open_archives
    from xmatch_hats.bulk.alerts.run import AlertsSettings, crossmatch_alerts
    from xmatch_hats.bulk.runs.watch import Listener
    from xmatch_hats.catalogs.importer import Telling
    from xmatch_hats.matching.targets import CatalogTarget

    again = make_copy(sky.rows, tmp_path / "stars", coverage="all-sky", name="stars").path
    for name, catalog, radius in (("a", sky.catalog, 1.0), ("b", sky.catalog, 2.0), ("c", again, 1.0)):
        place = write_archive(tmp_path / f"{name}_20180616.tar", sky.packets(0, 9))
        targets = [CatalogTarget(catalog, "stars", radius, ["source_id"])]
        settings = AlertsSettings(kind="parquet")
        list(crossmatch_alerts(open_archives([str(place)]), targets, tmp_path / "n", settings, listener=Listener()))
    words = "b_20180616 was matched with another radius of stars (2 arcsec, not 1), than a_20180616"
    with pytest.raises(CatalogError, match=re.escape(words) + ".*--mixed"):
        merge_nights(tmp_path / "n", workers=0)
    assert not (tmp_path / "n" / "merged").exists()
    said: list[str] = []
    report = merge_nights(tmp_path / "n", mixed=True, workers=0, progress=Telling(said.append))
    assert report.rows == 27
    assert said[:2] == [words, "c_20180616 was matched with another version of stars, than a_20180616"]
    groups = json.loads((report.path / "_bulk" / "provenance.json").read_text())["settings"]["matches"]
    assert [group["archives"] for group in groups] == [["a_20180616"], ["b_20180616"], ["c_20180616"]]
    assert [group["catalogs"][0]["radius_arcsec"] for group in groups] == [1.0, 2.0, 1.0]


def test_repetitions_against_a_plain_loop():
    import pyarrow as pa

    rng = np.random.default_rng(0)
    for _ in range(20):
        numbers = rng.integers(-3, 12, rng.integers(0, 60)).tolist()
        values = [None if number < 0 else number for number in numbers]
        cuts = sorted(rng.integers(0, len(values) + 1, 3).tolist())
        parts = [values[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
        seen: set[int] = set()
        expected = []
        for value in values:
            expected.append(value is not None and value in seen)
            seen.add(value)
        found = repeated([pa.chunked_array([pa.array(part, pa.int64())]) for part in parts])
        assert found.tolist() == expected
