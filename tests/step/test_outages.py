"""What a step depends on goes away and comes back: the step waits, says for what, goes on, and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.alerts.makers import unpack
from tests.alerts.messages import bare, wire
from tests.alerts.test_registry import Registry
from tests.copies import make_copy
from tests.services.follower import Follower
from tests.services.topics import Message, Received, produce, read_all
from tests.shared import full_size
from tests.step.outages import (
    RESUMED_WITHIN_S,
    THIRD,
    assert_all_went_well,
    broken,
    feed,
    wait_for_all,
    workers_of_this_process,
)
from tests.step.process.sky import CORNERS, SCHEMA, Sky, make_alerts
from tests.step.running import World, assert_answers
from tests.step.test_tables import assert_tables
from tests.store.conftest import url_of
from tests.store.databases import tables_of
from xmatch_hats.catalogs import registry
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.region import Box
from xmatch_hats.catalogs.side_copy import remove_side_copy
from xmatch_hats.step.database import open_store


@pytest.fixture
def copy(wise, tmp_path) -> Path:
    """A copy of the catalogue that may be damaged, and has no side copy that would be read in its place."""
    remove_side_copy(LocalCopy.open(shutil.copytree(wise[0].path, tmp_path / "copy")))
    return tmp_path / "copy"


def partition_files(copy: Path) -> list[Path]:
    files = [path for path in copy.rglob("Npix=*.parquet") if "margin" not in str(path)]
    assert files
    return files


def test_a_database_that_stops_and_starts(make_world, sky, postgres, database):
    variables = {f"DB_{name.upper()}": str(value) for name, value in database.items()}
    world = make_world(ENGINE="postgresql", **variables)
    store = open_store(world.settings())
    store.init()
    store.close()
    postgres.stop()
    with world.running() as step:
        step.says("waiting for database: ")
        step.until(lambda: "refused" in step.waits_for()["database"], "the reason")
        postgres.start()
        step.until(step.is_ready, "readiness")
        feed(world, sky, 0)
        step.until(lambda: step.batches >= 1, "a batch")
        postgres.stop(kill=True)
        with broken(step, "database", "refused", mend=postgres.start):
            feed(world, sky, 1)
        feed(world, sky, 2)
        wait_for_all(world, step, 3 * THIRD)
    assert_all_went_well(world, sky)
    assert_tables(tables_of(url_of(database)), sky.tables)
    assert database["password"] not in step.log


# The ordinary run has the other delivery in `step/kafka/test_outages`.
@pytest.mark.parametrize("delivery", ["at-least-once", full_size("exactly-once")])
def test_a_broker_that_stops_and_starts(make_world, sky, kafka, delivery):
    world = make_world(DELIVERY=delivery)
    with world.running() as step:
        feed(world, sky, 0)
        step.until(lambda: step.batches >= 1, "a batch")
        # Some of it may be on its way when the broker goes.
        feed(world, sky, 1)
        kafka.stop(kill=delivery == "exactly-once")
        step.says("waiting for source: ")
        step.until(lambda: "source" in step.waits_for(), "source in /ready")
        assert step.ask("/live")[0] == 200
        kafka.start()
        started = time.monotonic()
        feed(world, sky, 2)
        wait_for_all(world, step, 3 * THIRD)
        step.until(step.is_ready, "readiness")
        assert time.monotonic() - started < RESUMED_WITHIN_S
        assert "source works again after " in step.log
    messages = read_all(world.address, world.out)
    if delivery == "at-least-once":
        first = {unpack(message.value)[0]["candid"]: message for message in reversed(messages)}
        messages = list(first.values())
    assert_answers(sky, messages)
    assert read_all(world.address, world.dead) == []


def _away(path: Path) -> Path:
    return path.with_name(f"{path.name}.away")


def _rename(path: Path) -> None:
    path.rename(_away(path))


def _replace_by_a_folder(path: Path) -> None:
    _rename(path)
    path.mkdir()
    (path / "0.parquet").write_bytes(b"nothing")


def _replace_by_an_empty_folder(path: Path) -> None:
    _rename(path)
    path.mkdir()


def _overwrite(path: Path) -> None:
    _rename(path)
    content = _away(path).read_bytes()
    path.write_bytes(content[:100] + bytes(len(content) - 100))


def _put_back(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    _away(path).replace(path)


@pytest.mark.parametrize(
    "damage",
    [_rename, _overwrite, full_size(_replace_by_a_folder), full_size(_replace_by_an_empty_folder)],
)
def test_a_file_of_the_catalogue_that_cannot_be_read(make_world, sky, copy, damage):
    world = make_world(CATALOG=json.dumps([{"name": "allwise", "path": str(copy)}]))
    files = partition_files(copy)
    with world.running() as step:
        feed(world, sky, 0)
        step.until(lambda: step.batches >= 1, "a batch")
        for path in files:
            damage(path)
        with broken(step, "catalogue", "Npix=", mend=lambda: [_put_back(path) for path in files]):
            feed(world, sky, 1)
        feed(world, sky, 2)
        wait_for_all(world, step, 3 * THIRD)
    assert_all_went_well(world, sky)


def test_a_folder_of_the_catalogue_that_is_away(make_world, sky, copy):
    world = make_world(CATALOG=json.dumps([{"name": "allwise", "path": str(copy)}]))
    away = copy.with_name("away")
    with world.running() as step:
        feed(world, sky, 0)
        step.until(lambda: step.batches >= 1, "a batch")
        copy.rename(away)
        with broken(step, "catalogue", "allwise", mend=lambda: away.rename(copy)):
            feed(world, sky, 1)
        feed(world, sky, 2)
        wait_for_all(world, step, 3 * THIRD)
    assert_all_went_well(world, sky)


def test_a_schema_registry_that_is_down(make_world, sky, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    http = Registry()
    http.schemas = {number: {"schema": json.dumps(SCHEMA)} for number in (7, 8)}
    world = make_world(SCHEMA_REGISTRY_URL=f"http://me:pass-word@{http.address}")

    def send(part: int, number: int) -> None:
        alerts = sky.alerts[part * THIRD : (part + 1) * THIRD]
        packets = [Message(wire(number, bare(alert, SCHEMA)), alert["objectId"].encode()) for alert in alerts]
        produce(world.address, world.topic, packets)

    with world.running() as step:
        send(0, 7)
        step.until(lambda: step.batches >= 1, "a batch")
        http.stop()
        # What is known needs nobody.
        batches = step.batches
        send(1, 7)
        step.until(lambda: step.batches > batches, "another batch")
        with broken(step, "schema registry", "cannot be reached", mend=http.start_again):
            send(2, 8)
        wait_for_all(world, step, 3 * THIRD)
    http.stop()
    assert_all_went_well(world, sky)
    assert "pass-word" not in step.log


def test_another_version_of_the_catalogue_is_taken_up_between_batches(make_world, wise, sky, tmp_path, monkeypatch):
    """Each alert has the answer of one version: of the old one before the switch, of the new one after it."""
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path))
    _, rows = wise
    shutil.copytree(wise[0].path, tmp_path / "allwise" / "old")
    # The new version lacks every other source, and calls the rest by other names.
    kept = [row | {"designation": f"N{row['designation'][1:]}"} for row in rows[::2]]
    schema = pq.read_schema(partition_files(tmp_path / "allwise" / "old")[0])
    fields = [field for field in schema if field.name in kept[0]]
    table = pa.Table.from_pylist(kept, schema=pa.schema(fields))
    make_copy(table, tmp_path / "allwise" / "new", coverage=Box(*CORNERS).coverage(), partition_rows=1000)
    registry.use("allwise", "old")
    world = make_world(CATALOG='[{"name": "allwise"}]', CONSUME_MESSAGES="20")
    new_sky = Sky(tmp_path, sky.alerts, kept)
    with world.running() as step, Follower(world.address, world.out) as follower:
        feed(world, sky, 0)
        step.until(lambda: len(follower) >= THIRD, "the first third")
        feed(world, sky, 1)
        registry.use("allwise", "new")
        step.says("allwise is now at version new")
        step.until(lambda: len(follower) >= 2 * THIRD, "the second third")
        feed(world, sky, 2)
        wait_for_all(world, step, 3 * THIRD)
        messages = follower.messages
    assert "waiting for" not in step.log
    by_candid = {unpack(message.value)[0]["candid"]: message for message in messages}
    assert len(messages) == len(by_candid) == 3 * THIRD
    assert_answers(sky, [by_candid[alert["candid"]] for alert in sky.alerts[:THIRD]], range(THIRD))
    last = range(2 * THIRD, 3 * THIRD)
    assert_answers(new_sky, [by_candid[sky.alerts[number]["candid"]] for number in last], last)
    # In the order in which they came: first those of the old version, from some batch on those of the new one.
    versions = ["".join(sorted(_versions_that_say_so(sky, new_sky, message))) for message in messages]
    assert "" not in versions
    told = [version for version in versions if len(version) == 1]
    assert told == sorted(told, reverse=True)
    assert set(told) == {"o", "n"}


def _versions_that_say_so(sky: Sky, new_sky: Sky, message: Received) -> Iterator[str]:
    """Versions, old and new, whose answer an alert has."""
    (alert,) = unpack(message.value)
    number = alert["candid"] - 10**18
    name = alert["xmatches"] and alert["xmatches"]["allwise"]["AllWISE"]
    for version, answers in (("o", sky.matches), ("n", new_sky.matches)):
        match = answers[number]
        if name == (match and match[0]["designation"]):
            yield version


@pytest.mark.campaign
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_everything_that_can_go_away_under_load(
    make_world, wise, copy, kafka, postgres, database, delivery, record_property
):
    """One step with a cluster of its own and a database; every outage lasts ten seconds, while alerts keep coming."""
    sky = make_alerts(*wise, 6000, seed=3)
    catalog = json.dumps([{"name": "allwise", "path": str(copy)}])
    variables = {f"DB_{name.upper()}": str(value) for name, value in database.items()}
    world = make_world(
        partitions=4,
        DELIVERY=delivery,
        CATALOG=catalog,
        ENGINE="postgresql",
        WORKERS="2",
        RETRY_INTERVAL="1",
        **variables,
    )
    store = open_store(world.settings())
    store.init()
    store.close()
    (file,) = partition_files(copy)[:1]
    before = workers_of_this_process()

    def kill_a_worker() -> None:
        os.kill(next(iter(workers_of_this_process() - before)), signal.SIGKILL)

    outages: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "database stopped": (postgres.stop, postgres.start),
        "broker stopped": (kafka.stop, kafka.start),
        "worker killed": (kill_a_worker, lambda: None),
        "file gone": (lambda: _rename(file), lambda: _put_back(file)),
        "database killed": (lambda: postgres.stop(kill=True), postgres.start),
        "broker killed": (lambda: kafka.stop(kill=True), kafka.start),
        "broker halted": (kafka.pause, kafka.resume),
    }
    done = threading.Event()
    with world.running() as step:
        step.until(step.is_ready, "readiness")
        feeder = threading.Thread(target=_keep_feeding, args=(world, sky, done), daemon=True)
        feeder.start()
        for name, (break_, mend) in outages.items():
            batches = step.batches
            step.until(lambda batches=batches: step.batches > batches, "a batch")
            break_()
            time.sleep(10)
            mended, batches = time.monotonic(), step.batches
            mend()
            step.until(lambda batches=batches: step.batches > batches, f"a batch after: {name}")
            record_property(f"{name}, seconds to resume", round(time.monotonic() - mended, 1))
            assert time.monotonic() - mended < RESUMED_WITHIN_S, name
            step.until(step.is_ready, "readiness")
        done.set()
        feeder.join()
        wait_for_all(world, step, len(sky.alerts))
    messages = read_all(world.address, world.out)
    first = {unpack(message.value)[0]["candid"]: message for message in reversed(messages)}
    record_property("alerts", len(sky.alerts))
    record_property("repeated", len(messages) - len(first))
    if delivery == "exactly-once":
        assert len(messages) == len(first)
    assert_answers(sky, list(first.values()))
    assert read_all(world.address, world.dead) == []
    assert_tables(tables_of(url_of(database)), sky.tables)


def _keep_feeding(world: World, sky: Sky, done: threading.Event) -> None:
    """Produce 20 alerts at a time; all that are left when told that it is enough."""
    for start in range(0, len(sky.messages), 20):
        produce(world.address, world.topic, sky.messages[start : start + 20], timeout_s=300)
        done.wait(0.5)
