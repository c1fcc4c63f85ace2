from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.alerts.makers import unpack
from tests.copies import make_copy
from tests.oracle import brute_force
from tests.services.topics import produce, read_all
from tests.step.process.sky import Sky
from tests.step.settings.world import KAFKA, load
from tests.store.conftest import url_of
from tests.store.databases import tables_of
from tests.store.detections import MAGNITUDES, Answer, Detection, expected_tables, facts
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.plan import FieldPaths
from xmatch_hats.alerts.splice import InputOutput
from xmatch_hats.errors import ConfigError
from xmatch_hats.matching.crossmatcher import Crossmatcher
from xmatch_hats.step.database import open_store
from xmatch_hats.step.enrichment import make_enricher, stream_targets
from xmatch_hats.step.settings import CatalogSettings
from xmatch_hats.step.tables import FACT_PATHS, StoreTables
from xmatch_hats.store.store import Store
from xmatch_hats.store.urls import url_from_settings

FACTS = ("ra", "dec", "jd", "ndethist", "ncovhist", "jdstarthist", "jdendhist")


@pytest.fixture
def file(tmp_path) -> str:
    return str(tmp_path / "step.db")


@pytest.fixture
def file_url(file):
    return url_from_settings("sqlite", None, None, None, None, file)


def assert_tables(found: dict[str, list[dict[str, Any]]], expected: dict[str, list[dict[str, Any]]]) -> None:
    """Equal, but for the last digits of what goes through another arithmetic."""
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert [*map(close, found[name])] == [*map(close, rows)], name


def close(row: dict[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(value, abs=1e-7) if isinstance(value, float) else value for name, value in row.items()}


def packets(sky: Sky) -> list:
    reader = PacketReader(FieldPaths(extra=FACT_PATHS))
    return [reader.read(message.value) for message in sky.messages]


@pytest.mark.parametrize("size", [None, 7])
def test_rows_are_of_the_alerts_that_go_on(wise, sky, file_url, size):
    """Whichever they are, and however many positions are matched at once."""
    catalogs = [CatalogSettings(name="allwise", path=str(wise[0].path), columns=["W2mag"])]
    goes_on = np.random.default_rng(1).random(len(sky.alerts)) < 0.6
    with Crossmatcher(stream_targets(catalogs, with_tables=True), workers=0) as matcher:
        enricher = make_enricher(matcher, InputOutput(), catalogs)
        matched = enricher.match(packets(sky), size)
        store = Store.open(file_url)
        store.init()
        counts = StoreTables(store).write(matched, enricher, goes_on)
        store.close()
    chosen = [alert for alert, goes in zip(sky.alerts, goes_on, strict=True) if goes]
    expected = Sky(sky.copy, chosen, sky.rows).tables
    assert len(expected["object"]) > 10
    found = tables_of(file_url)
    assert_tables(found, expected)
    assert {name: counts[name] for name in expected} == {name: len(rows) for name, rows in expected.items()}


def test_nothing_goes_on(wise, sky, file_url):
    catalogs = [CatalogSettings(name="allwise", path=str(wise[0].path))]
    with Crossmatcher(stream_targets(catalogs, with_tables=True), workers=0) as matcher:
        enricher = make_enricher(matcher, InputOutput(), catalogs)
        store = Store.open(file_url)
        store.init()
        tables = StoreTables(store)
        assert not tables.write(enricher.match(packets(sky)), enricher, np.zeros(len(sky.alerts), dtype=bool))
        assert not tables.write(enricher.match([]), enricher, np.zeros(0, dtype=bool))
        store.close()
    assert tables_of(file_url) == {"object": [], "allwise": [], "xmatch": []}


def test_a_step_without_a_database_has_none():
    with pytest.raises(ConfigError, match="ENGINE: no database is configured"):
        open_store(load(**KAFKA))


def test_a_step_writes_postgresql(make_world, wise, sky, database):
    """Columns that the tables need are fetched, and do not go out unless they are asked for."""
    variables = {f"DB_{name.upper()}": str(value) for name, value in database.items()}
    catalog = json.dumps([{"name": "allwise", "path": str(wise[0].path), "columns": ["W2mag"]}])
    world = make_world(ENGINE="postgresql", STEP_VERSION="1.2.3", CATALOG=catalog, **variables)
    store = open_store(world.settings())
    store.init()
    store.close()
    produce(world.address, world.topic, [*sky.messages, b"rubbish"])
    total = world.run()
    assert (total.out, total.dead) == (len(sky.alerts), 1)
    assert_tables(tables_of(url_of(database)), sky.tables)
    (step,) = tables_of(url_of(database), ["step"])["step"]
    assert (step["step_id"], step["name"], step["version"], step["comments"]) == ("1.2.3", "1.2.3", "1.2.3", "")
    matches = [unpack(message.value)[0]["xmatches"] for message in read_all(world.address, world.out)]
    assert {tuple(match["allwise"]) for match in matches if match} == {("angDist", "W2mag")}


def test_a_step_makes_its_own_file(make_world, wise, sky, file, file_url, tmp_path):
    """A table is a definition's, whatever its catalogue is called; others have their matches written, and no more."""
    sources = [(row["ra"] + 0.3 / 3600, row["dec"]) for row in wise[1][::3]]
    table = pa.table({"ra": [ra for ra, _ in sources], "dec": [dec for _, dec in sources]})
    beside = make_copy(table, tmp_path / "beside", coverage="all-sky")
    catalogs = [{"name": "ir", "path": str(wise[0].path)}, {"name": "beside", "path": str(beside.path)}]
    world = make_world(ENGINE="sqlite", DB_NAME=file, CATALOG=json.dumps(catalogs))
    produce(world.address, world.topic, sky.messages)
    world.run()
    found = tables_of(file_url)
    assert_tables(found, expected_with(sky, sources))
    # Again, as after a crash before the commit: nothing changes.
    world.variables["CONSUMER_GROUP_ID"] += "-again"
    world.run()
    assert tables_of(file_url) == found


def expected_with(sky: Sky, sources: list[tuple[float, float]]) -> dict[str, list[dict[str, Any]]]:
    """Tables of AllWISE under the name ``ir``, and of sources that are known by their row number."""
    ra, dec = ([alert["candidate"][name] for alert in sky.alerts] for name in ("ra", "dec"))
    pairs = brute_force(ra, dec, [place[0] for place in sources], [place[1] for place in sources], 1.0, k=1)
    detections = []
    for alert, match in zip(sky.alerts, sky.matches, strict=True):
        known = {name: alert["candidate"][name] for name in FACTS}
        values = {name: match[0][name] for name in ("ra", "dec", *MAGNITUDES)} if match else {}
        answers = {"allwise": Answer(match[0]["designation"], match[1], values)} if match else {}
        detections.append(Detection(facts(alert["objectId"], **known), answers))
    for left, right, separation in zip(pairs.left, pairs.right, pairs.sep_arcsec, strict=True):
        detections[left].answers["beside"] = Answer(int(right), float(separation))
    tables = expected_tables(detections)
    for row in tables["xmatch"]:
        row["catid"] = {"allwise": "ir"}.get(row["catid"], row["catid"])
    tables["xmatch"].sort(key=lambda row: (row["oid"], row["catid"]))
    return tables
