"""Archives become collections and datasets: every alert in one row, with the answer of brute force."""

from __future__ import annotations

import csv
import json

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.alerts.makers import unpack
from tests.bulk.alerts.nights import alert, packet, read_output, write_archive
from tests.copies import make_copy
from tests.folders import contents
from tests.oracle import brute_force
from xmatch_hats.alerts.sources import PacketSources
from xmatch_hats.bulk.alerts.archives import open_archives
from xmatch_hats.bulk.alerts.run import AlertsSettings, crossmatch_alerts
from xmatch_hats.bulk.runs.watch import Listener
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.layout import RESERVED
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, UsageError
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.targets import CatalogTarget


class Told(Listener):
    """Keeps what is said."""

    def __init__(self, said) -> None:
        self.said = said

    def say(self, text) -> None:
        self.said.append(text)


def run(places, catalog, out, *, night=None, said=None, scheduler=None, **settings):
    targets = [CatalogTarget(catalog, "stars", 1.0, ["source_id", "mag"])]
    listener = Told(said if said is not None else [])
    archives = open_archives([str(place) for place in places], night)
    return list(
        crossmatch_alerts(archives, targets, out, AlertsSettings(**settings), listener=listener, scheduler=scheduler)
    )


@pytest.fixture(scope="module")
def hats(night, sky, tmp_path_factory):
    (report,) = run([night], sky.catalog, tmp_path_factory.mktemp("hats"))
    return report


def test_every_alert_has_the_answer_of_brute_force(hats, sky):
    table = read_output(hats.path)
    assert table["candid"].to_pylist() == list(range(len(sky.ra)))
    assert table["ra"].to_pylist() == sky.ra.tolist()
    pairs = brute_force(sky.ra, sky.dec, sky.rows["ra"], sky.rows["dec"], 1.0, k=1)
    matched = np.zeros(len(sky.ra), dtype=bool)
    matched[pairs.left] = True
    assert matched.mean() >= 0.5
    assert table["_status"].to_pylist() == ["matched" if one else "unmatched" for one in matched]
    assert table["source_id"].drop_null().to_pylist() == pairs.right.tolist()
    assert np.abs(table["_dist_arcsec"].drop_null().to_numpy() - pairs.sep_arcsec).max() < 1e-9
    assert table["fid"].to_pylist() == [1 + i % 3 for i in range(len(sky.ra))]
    assert table["field"].null_count == len([i for i in range(len(sky.ra)) if i % 7 == 0])
    assert table["drb"].null_count == len(sky.ra)
    assert table.schema.field("magpsf").type == pa.float32()
    assert set(table["archive_name"].to_pylist()) == {"ztf_public_20180619"}


def test_the_accounting_is_exact(hats, sky):
    summary = json.loads((hats.path / "_bulk" / "summary.json").read_text())
    assert summary == hats.summary
    assert summary["in"] == summary["members"] == summary["packets"] == summary["rows"] == len(sky.ra)
    assert summary["matched"] + summary["unmatched"] == summary["in"]
    assert summary["catalogs"]["stars"] == {key: summary[key] for key in summary["catalogs"]["stars"]}
    assert summary["slices"] == 3
    assert summary["rejected"] == summary["duplicates"] == 0
    assert hats.is_whole


def test_the_collection_is_one_for_others_too(hats, sky):
    import lsdb

    assert hats.path.parent.name == "night=20180619"
    assert hats.path.name == "archive=ztf_public_20180619"
    assert verify_copy(hats.path).passed
    frame = lsdb.open_catalog(str(hats.path), columns=["candid", "ra", "dec"]).compute()
    assert sorted(frame["candid"]) == list(range(len(sky.ra)))
    assert LocalCopy.open(hats.path).margin_arcsec == 10.0


def test_a_dataset_has_the_same_rows(hats, night, sky, tmp_path):
    (report,) = run([night], sky.catalog, tmp_path, kind="parquet")
    table = ds.dataset(tmp_path, partitioning="hive").to_table()
    assert set(table["night"].to_pylist()) == {20180619}
    names = [name for name in table.column_names if name not in ("night", "archive")]
    assert table.select(names).equals(read_output(hats.path).select(names))
    assert report.summary | {"format": "hats"} == hats.summary


def test_what_is_done_is_not_done_again(night, sky, tmp_path):
    first = run([night], sky.catalog, tmp_path, kind="parquet")[0]
    before = contents(first.path)
    state = first.path.stat().st_ino
    said = []
    again = run([night], sky.catalog, tmp_path, kind="parquet", said=said)[0]
    assert again.was_done
    assert again.summary == first.summary
    assert "is done already" in said[0]
    assert first.path.stat().st_ino == state
    redone = run([night], sky.catalog, tmp_path, kind="parquet", redo=True)[0]
    assert not redone.was_done
    assert first.path.stat().st_ino != state
    changed = {name for name, data in contents(first.path).items() if before[name] != data}
    assert changed == {"_bulk/run.log.jsonl"}
    wider = run([night], sky.catalog, tmp_path, kind="parquet", columns=["rbversion"])[0]
    assert "rbversion" in read_output(wider.path).column_names
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name.startswith(".")) == []


def test_workers_change_nothing(hats, night, sky, tmp_path, dask_client):
    with Scheduler(client=dask_client) as scheduler:
        (report,) = run([night], sky.catalog, tmp_path, scheduler=scheduler)
    assert report.summary == hats.summary
    ours, theirs = (
        {name: data for name, data in contents(one.path).items() if "Npix" in name} for one in (report, hats)
    )
    assert ours == theirs


def test_rejects_are_kept_and_counted(sky, tmp_path):
    ra, dec = float(sky.ra[0]), float(sky.dec[0])
    members = [
        ("good.avro", packet(alert(1, ra, dec))),
        ("nonsense.avro", b"hello"),
        ("nowhere.avro", packet(alert(2, float("nan"), 0.0))),
        ("several.avro", packet(alert(3, ra, dec), alert(4, float("inf"), 0.0), alert(5, 1.0, 91.0))),
        ("cut.avro", packet(alert(6, ra, dec))[:-9]),
        ("last.avro", packet(alert(7, ra, dec))),
    ]
    place = write_archive(tmp_path / "ztf_public_20180619.tar.gz", members)
    (report,) = run([place], sky.catalog, tmp_path / "out", kind="parquet", packets=tmp_path / "packets")
    summary = report.summary
    assert (summary["in"], summary["matched"], summary["rejected"], summary["rows"]) == (8, 3, 5, 3)
    table = read_output(report.path)
    assert table["candid"].to_pylist() == [1, 3, 7]
    assert table["member"].to_pylist() == [0, 3, 5]
    rejects = report.path / "_bulk" / "rejects"
    kept = contents(rejects)
    assert sorted(name for name in kept if name.endswith(".avro")) == [
        "cut.avro", "nonsense.avro", "nowhere.avro", "several.record-1.avro", "several.record-2.avro",
    ]  # fmt: skip
    assert kept["nonsense.avro"] == b"hello"
    assert unpack(kept["several.record-1.avro"])[0]["candid"] == 4
    reasons = {name: json.loads(data)["message"] for name, data in kept.items() if name.endswith(".json")}
    assert "declination" in reasons["several.record-2.avro.reason.json"].lower()
    bad = pq.read_table(report.path / "_bulk" / "rejected.parquet", partitioning=None)
    assert bad["candid"].to_pylist() == [2, 4, 5]
    out = {raw.name: raw.read() for raw in PacketSources([tmp_path / "packets" / place.name])}
    assert list(out) == ["good.avro", "several.avro", "last.avro"]
    assert [record["candid"] for record in unpack(out["several.avro"])] == [3]
    assert unpack(out["good.avro"])[0]["xmatches"]["stars"]


def test_a_truncated_archive_is_used_and_told(night, sky, tmp_path):
    short = tmp_path / night.name
    short.write_bytes(night.read_bytes()[: night.stat().st_size * 2 // 3])
    (report,) = run([short], sky.catalog, tmp_path / "out", kind="parquet")
    assert not report.is_whole
    assert "breaks off before its end" in report.summary["damage"]
    rows = read_output(report.path)["candid"].to_pylist()
    assert rows == list(range(len(rows)))
    assert 1000 < len(rows) < 2500
    assert report.summary["in"] == len(rows) + report.summary["rejected"]
    reasons = contents(report.path / "_bulk" / "rejects")
    assert "ztf_public_20180619.damage.reason.json" in reasons
    assert not run([short], sky.catalog, tmp_path / "out", kind="parquet")[0].is_whole


def test_duplicates_are_counted_and_left_out_if_asked(sky, tmp_path):
    numbers = [5, 6, 5, 7, 6, 5]
    members = [(f"{i}.avro", packet(alert(n, float(sky.ra[n]), float(sky.dec[n])))) for i, n in enumerate(numbers)]
    place = write_archive(tmp_path / "ztf_public_20180619.tar.gz", members)
    (kept,) = run([place], sky.catalog, tmp_path / "kept")
    assert (kept.summary["rows"], kept.summary["duplicates"], kept.summary["duplicates_removed"]) == (6, 3, 0)
    assert read_output(kept.path)["candid"].to_pylist() == numbers
    (dropped,) = run([place], sky.catalog, tmp_path / "dropped", dedup=True)
    assert (dropped.summary["rows"], dropped.summary["duplicates_removed"]) == (3, 3)
    assert read_output(dropped.path)["member"].to_pylist() == [0, 1, 3]


@pytest.mark.parametrize("kind", ["hats", "parquet"])
def test_an_archive_without_good_alerts(hats, sky, tmp_path, kind):
    place = write_archive(tmp_path / "ztf_public_20180619.tar.gz", [("nonsense.avro", b"hello")])
    empty = write_archive(tmp_path / "ztf_public_20180620.tar.gz", [])
    for name, data in (("ztf_public_20180621.tar.gz", b""), ("ztf_public_20180622.tar.gz", b"damaged" * 300)):
        (tmp_path / name).write_bytes(data)
    places = [place, empty, tmp_path / "ztf_public_20180621.tar.gz", tmp_path / "ztf_public_20180622.tar.gz"]
    reports = run(places, sky.catalog, tmp_path / "out", kind=kind)
    assert [report.summary["in"] for report in reports] == [1, 0, 1, 1]
    assert [report.summary["rows"] for report in reports] == [0, 0, 0, 0]
    assert [report.is_whole for report in reports] == [True, True, False, False]
    wanted = LocalCopy.open(hats.path).schema
    for report in reports:
        if kind == "hats":
            assert verify_copy(report.path).passed
            schema = LocalCopy.open(report.path).schema
        else:
            (file,) = report.path.glob("*.parquet")
            schema = pq.read_schema(file)
            assert pq.read_metadata(file).num_rows == 0
        own = [field for field in wanted if field.name not in RESERVED]
        assert [field for field in schema if field.name not in RESERVED] == own
    assert all(report.was_done for report in run(places, sky.catalog, tmp_path / "out", kind=kind))


def test_a_collection_without_rows_is_one_for_others_too(sky, tmp_path):
    import lsdb

    (report,) = run([write_archive(tmp_path / "ztf_public_20180620.tar", [])], sky.catalog, tmp_path / "out")
    frame = lsdb.open_catalog(str(report.path), columns=["candid", "ra", "dec"]).compute()
    assert len(frame) == 0
    assert list(frame.columns) == ["candid", "ra", "dec"]


def test_a_slice_that_fails_leaves_no_output(night, sky, tmp_path):
    catalog = make_copy(sky.rows, tmp_path / "stars", coverage="all-sky", partition_rows=2_000)
    spoiled = sorted(catalog.path.rglob("Npix=*.parquet"))
    spoiled = next(path for path in spoiled if "_margin" not in str(path))
    good = spoiled.read_bytes()
    spoiled.write_bytes(good[:100] + bytes(200) + good[300:-8] + bytes(8))
    for side in catalog.path.glob("side_copy/**/*.arrow"):
        side.write_bytes(b"")
    (report,) = run([night], catalog.path, tmp_path / "out", kind="parquet", attempts=1)
    assert report.summary is None
    assert not report.is_whole
    assert not report.path.exists()
    assert report.failed
    assert all("Npix" in failure.reason or "cannot be read" in failure.reason for failure in report.failed.values())


def test_two_runs_refuse_each_other(night, sky, tmp_path):
    from filelock import FileLock

    folder = tmp_path / "night=20180619" / ".archive=ztf_public_20180619.matching"
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"), pytest.raises(CatalogError, match="is being written by another match"):
        run([night], sky.catalog, tmp_path)


def test_wrong_use(night, sky, tmp_path):
    with pytest.raises(UsageError, match=r"has a field candidate\.drbb.*drb"):
        run([night], sky.catalog, tmp_path, columns=["drbb"])
    with pytest.raises(UsageError, match="no format"):
        run([night], sky.catalog, tmp_path, kind="csv")
    with pytest.raises(UsageError, match="over the archive itself"):
        run([night], sky.catalog, tmp_path, packets=night.parent)
    assert not list(tmp_path.iterdir())


def test_real_packets_of_all_versions(shared_data, tmp_path):
    files = sorted((shared_data / "ztf_alerts").rglob("*.avro"))
    members = [(f"{number}.avro", path.read_bytes()) for number, path in enumerate(files)]
    place = write_archive(tmp_path / "ztf_public_20180619.tar.gz", members)
    with (shared_data / "ztf_alerts_index.csv").open() as file:
        index = list(csv.DictReader(file))
    stars = pa.table({name: np.array([float(row[name]) for row in index[::2]]) for name in ("ra", "dec")})
    stars = stars.append_column("source_id", pa.array(range(len(stars)))).append_column("mag", stars["ra"])
    catalog = make_copy(stars, tmp_path / "stars", coverage="all-sky")
    columns = ["rcid", "ssdistnr", "jdstarthist", "drbversion", "sgscore", "isdiffpos"]
    (report,) = run([place], catalog.path, tmp_path / "out", kind="parquet", columns=columns)
    records = [record for path in files for record in fastavro.reader(path.open("rb"))]
    table = read_output(report.path)
    assert len(table) == len(records) == 575
    for name in (*columns, "jd", "fid", "field", "magpsf", "rb", "drb", "ra", "dec"):
        expected = [record["candidate"].get(name) for record in records]
        found = table[name].to_pylist()
        assert [value if value == value else None for value in found] == [
            value if value == value else None for value in expected
        ], name
    assert table["objectId"].to_pylist() == [record.get("objectId") for record in records]
    assert table["candid"].to_pylist() == [record.get("candid", record["candidate"]["candid"]) for record in records]
    pairs = brute_force(table["ra"], table["dec"], stars["ra"], stars["dec"], 1.0, k=1)
    assert report.summary["matched"] == len(pairs) > 280
