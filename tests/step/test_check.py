from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.alerts.test_registry import Registry
from tests.copies import make_copy, sky_table
from tests.services.topics import create_topic
from tests.step.settings.world import KAFKA, load
from xmatch_hats.catalogs.side_copy import build_side_copy
from xmatch_hats.step import check
from xmatch_hats.step.check import CheckReport, Finding, check_step
from xmatch_hats.store.store import Store

FILES = {"SOURCE": "/", "SINK": "/nowhere/matched"}
"""Ends without Kafka, for what is checked beside them."""


@pytest.fixture
def look(wise):
    """Check settings without Kafka; gives the finding about one thing."""

    def look(what: str, **variables: str) -> Finding:
        catalog = json.dumps([{"name": "allwise", "path": str(wise[0].path)}])
        report = check_step(load(**{"CATALOG": catalog, "WORKERS": "0", **FILES, **variables}))
        kinds = ["settings", "catalogues", "schemas", "engine", "dask", "database"]
        assert [item.what for item in report.items] == kinds
        (found,) = [item for item in report.items if item.what == what]
        return found

    return look


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "step.db"


def make_tables(file: Path) -> None:
    store = Store.open(f"sqlite:///{file}")
    store.init()
    store.close()


def test_a_database_that_is_a_file(look, file, tmp_path):
    def told() -> tuple[bool, str]:
        found = look("database", ENGINE="sqlite", DB_NAME=str(file))
        assert found.settings == ("ENGINE", "DB_NAME")
        return found.ok, found.detail

    assert told() == (True, f"{file}: a run makes the file and its tables")
    assert list(tmp_path.iterdir()) == []
    file.touch()
    assert told() == (True, f"{file}: a run makes the table object, allwise, xmatch, step")
    assert file.stat().st_size == 0
    make_tables(file)
    before = file.read_bytes()
    ok, detail = told()
    assert ok
    assert detail.endswith("all tables are there")
    assert file.read_bytes() == before
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE step")
    assert told() == (True, f"{file}: a run makes the table step")
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE xmatch DROP COLUMN dist")
        connection.execute("CREATE TABLE step (step_id TEXT PRIMARY KEY, name, version, comments, date)")
    ok, detail = told()
    assert not ok
    assert "the table xmatch lacks the columns dist" in detail


def test_schemas_of_bare_records(look, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert look("schemas").detail == "packets bring their own"
    assert look("schemas", SCHEMA_DIR=str(tmp_path)) == Finding(
        "schemas", ("SCHEMA_DIR", "SCHEMA_REGISTRY_URL"), True, str(tmp_path)
    )
    registry = Registry()
    url = f"http://me:pass-word@{registry.address}"
    found = look("schemas", SCHEMA_DIR=str(tmp_path), SCHEMA_REGISTRY_URL=url)
    assert found.ok
    assert found.detail == f"{tmp_path}, the registry answers"
    registry.stop()
    found = look("schemas", SCHEMA_REGISTRY_URL=url)
    assert not found.ok
    assert "cannot be reached" in found.detail
    assert "pass-word" not in found.detail


def test_what_graphs_run_on(look, dask_client):
    assert look("dask").detail == "threads of this process"
    assert look("dask", WORKERS="3").detail == "a cluster of 3 workers on this machine"
    address = dask_client.scheduler.address
    found = look("dask", WORKERS="", DASK_SCHEDULER=address)
    assert found == Finding("dask", ("DASK_SCHEDULER", "WORKERS"), True, f"{address} has 2 workers")


def test_what_matches(look):
    found = look("engine", WORKER_CACHE_BYTES="2GiB")
    assert found.settings == ("MATCH_ENGINE", "WORKER_CACHE_BYTES")
    assert found.detail == "resident; partitions that each worker keeps open: at most 2,147,483,648 bytes"
    assert look("engine").detail.endswith("at most a quarter of its memory and 1 GiB")
    assert look("engine", MATCH_ENGINE="LSDB").detail == "lsdb, which keeps nothing"


def test_side_copies_are_told_of(look, tmp_path):
    copy = make_copy(sky_table(50), tmp_path / "sky", coverage="all-sky", side_copy=False)
    catalog = {"CATALOG": json.dumps([{"name": "a", "path": str(copy.path), "columns": ["flux"]}])}
    assert look("catalogues", **catalog).detail.endswith(", no side copy")
    build_side_copy(copy, ["flux"])
    assert look("catalogues", **catalog).detail.endswith(", a side copy")
    build_side_copy(copy, ["source_id"])
    assert look("catalogues", **catalog).detail.endswith(", a side copy, of no use here without flux")


def test_files_are_looked_at(look, tmp_path):
    (tmp_path / "in").mkdir()
    good = {"SOURCE": str(tmp_path / "in"), "SINK": str(tmp_path / "out")}
    assert look("settings", **good).detail == f"reads {tmp_path}/in, writes {tmp_path}/out"
    assert not look("settings", SOURCE=str(tmp_path / "in"), SINK=str(tmp_path / "in" / "out")).ok
    assert not look("settings", SOURCE=str(tmp_path / "gone"), SINK=str(tmp_path / "new")).ok
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_catalogues_are_opened_with_what_is_asked_of_them(look, wise):
    copy, rows = wise
    found = look("catalogues")
    assert found.ok
    assert f"allwise at {copy.path}: {len(rows):,} rows, version {copy.version[:12]}" in found.detail
    # A square degree, less its border.
    assert "coverage 0.0024" in found.detail
    two = [{"name": "a", "path": str(copy.path), "columns": ["W1mag"]}, {"name": "b", "path": str(copy.path)}]
    assert "; b at " in look("catalogues", CATALOG=json.dumps(two)).detail
    assert not look("catalogues", CATALOG=json.dumps([{"name": "a", "path": str(copy.path / "gone")}])).ok
    # What the tables need is looked for only where there are tables.
    two = json.dumps([{"name": "a", "path": str(copy.path), "radius": 10.0}])
    assert look("catalogues", CATALOG=two, ENGINE="sqlite", DB_NAME="x").ok


def test_topics_by_their_day_and_by_an_expression(kafka_address, wise, topic_name, monkeypatch):
    stem = topic_name("ztf")
    for name in (f"{stem}_20240131", f"{stem}_20240201", "out", "out_dlq"):
        create_topic(kafka_address, name)
    catalog = json.dumps([{"name": "allwise", "path": str(wise[0].path)}])
    common = KAFKA | {"CONSUMER_SERVER": kafka_address, "PRODUCER_SERVER": kafka_address, "CATALOG": catalog}
    common |= {"WORKERS": "0", "PRODUCER_TOPIC": "out"}

    def source(**variables: str) -> Finding:
        report = check_step(load(**(common | variables)))
        assert report.ok, report
        return next(item for item in report.items if item.what == "source")

    found = source(CONSUMER_TOPICS="", TOPIC_STRATEGY_FORMAT=f"{stem}_%s")
    assert found.settings == ("CONSUMER_SERVER", "TOPIC_STRATEGY_FORMAT")
    assert found.detail == f"{stem}_20240131 (1 partitions), {stem}_20240201 (1 partitions)"
    assert source(CONSUMER_TOPICS=f"^{stem}_2024013.").detail == f"{stem}_20240131 (1 partitions)"
    # Those of tomorrow are not there yet.
    assert "none of the topics is there yet" in source(CONSUMER_TOPICS="", TOPIC_STRATEGY_FORMAT="x_%s").detail
    # What may not be seen is not told.
    monkeypatch.setattr(check, "_config", lambda *_: None)
    report = check_step(load(**(common | {"CONSUMER_TOPICS": f"^{stem}_2024013."})))
    assert [item.detail for item in report.items if item.what == "output"] == [
        "out (1 partitions), out_dlq (1 partitions)"
    ]


def test_a_report_as_json():
    report = CheckReport(
        [("DB_PASSWORD", "***", "environment")],
        [Finding("source", ("CONSUMER_SERVER",), True, "fine"), Finding("dask", (), False, "broken")],
    )
    assert not report.ok
    assert report.to_json() == {
        "ok": False,
        "settings": [{"name": "DB_PASSWORD", "value": "***", "source": "environment"}],
        "checks": [
            {"what": "source", "settings": ["CONSUMER_SERVER"], "ok": True, "detail": "fine"},
            {"what": "dask", "settings": [], "ok": False, "detail": "broken"},
        ],
    }
