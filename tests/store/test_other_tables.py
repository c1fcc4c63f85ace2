"""Tables that others have made: more columns, in another order, with defaults, in a schema of their own."""

from __future__ import annotations

import pytest

from tests.store.databases import execute, tables_of
from tests.store.detections import MAGNITUDES, Answer, Detection, expected_tables, facts, wise, write
from xmatch_hats.store.store import Store

OBJECT = """
CREATE TABLE object (
    created_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    meanra DOUBLE PRECISION, meandec DOUBLE PRECISION, sigmara DOUBLE PRECISION, sigmadec DOUBLE PRECISION,
    firstmjd DOUBLE PRECISION, lastmjd DOUBLE PRECISION, deltajd DOUBLE PRECISION,
    oid VARCHAR NOT NULL,
    corrected BOOLEAN, stellar BOOLEAN,
    diffpos BOOLEAN NOT NULL DEFAULT true,
    ndet INTEGER, ndethist INTEGER, ncovhist INTEGER,
    mjdstarthist DOUBLE PRECISION, mjdendhist DOUBLE PRECISION,
    g_r_max REAL, g_r_max_corr REAL, g_r_mean REAL, g_r_mean_corr REAL,
    step_id_corr VARCHAR,
    reference_change BOOLEAN,
    PRIMARY KEY (oid)
)
"""
ALLWISE = f"""
CREATE TABLE allwise (
    {", ".join(f"{name} DOUBLE PRECISION" for name in reversed(MAGNITUDES))},
    oid_catalog VARCHAR PRIMARY KEY,
    ra DOUBLE PRECISION NOT NULL, dec DOUBLE PRECISION NOT NULL,
    origin VARCHAR DEFAULT 'wise'
)
"""
XMATCH = """
CREATE TABLE xmatch (
    seen TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    dist DOUBLE PRECISION NOT NULL, oid_catalog VARCHAR NOT NULL, catid VARCHAR NOT NULL,
    period DOUBLE PRECISION, class_catalog VARCHAR,
    oid VARCHAR NOT NULL REFERENCES object (oid),
    PRIMARY KEY (oid, catid)
)
"""
STEP = """
CREATE TABLE step (
    date TIMESTAMP NOT NULL, comments VARCHAR NOT NULL, version VARCHAR NOT NULL, name VARCHAR NOT NULL,
    step_id VARCHAR PRIMARY KEY
)
"""
INDEXES = ["CREATE INDEX ix_object_meanra ON object (meanra)", "CREATE INDEX ix_allwise_ra ON allwise (ra)"]
STREAM = [
    Detection(facts("A", ndethist=1), wise("J1", 0.25, ra=10.5, dec=-5.25)),
    Detection(facts("B"), {**wise("J2", 0.5, ra=10.6, dec=-5.3), "gcvs": Answer(17)}),
    Detection(facts("A", ndethist=2), wise("J2", 0.75, ra=10.6, dec=-5.3)),
]


def shared_part(tables, expected):
    """The columns that the contract knows, of rows that have more."""
    return {
        name: [{column: row[column] for column in expected[name][0]} for row in rows] for name, rows in tables.items()
    }


@pytest.fixture
def theirs(url):
    execute(url, OBJECT, ALLWISE, XMATCH, STEP, *INDEXES)
    store = Store.open(url)
    yield store
    store.close()


def test_tables_with_more_columns_are_used_as_they_are(theirs, url):
    assert theirs.init() == []
    theirs.check()
    theirs.write_step()
    for batch in (STREAM[:1], STREAM[1:], STREAM):
        write(theirs, *batch)
    tables, expected = tables_of(url), expected_tables(STREAM)
    assert shared_part(tables, expected) == expected
    assert all(row["created_on"] is not None and row["diffpos"] == 1 for row in tables["object"])
    assert all(row["g_r_max"] is None and row["reference_change"] is None for row in tables["object"])
    assert [row["origin"] for row in tables["allwise"]] == ["wise", "wise"]
    assert [row["step_id"] for row in tables_of(url, ["step"])["step"]] == ["dev"]


def test_what_others_wrote_beside_the_contract_stays(theirs, url):
    write(theirs, *STREAM)
    execute(
        url,
        "UPDATE object SET ndet = 9, g_r_max = 0.5, sigmara = 0.25, corrected = true",
        "UPDATE allwise SET origin = 'elsewhere'",
        "UPDATE xmatch SET seen = NULL",
    )
    before = tables_of(url)
    write(theirs, *STREAM)
    assert tables_of(url) == before
    write(theirs, Detection(facts("A"), wise("J1", 0.125, ra=11.0, dec=-5.0)))
    after = tables_of(url)
    assert after["object"] == before["object"]
    assert after["allwise"][0] == {**before["allwise"][0], "ra": 11.0, "dec": -5.0}
    assert after["xmatch"][0] == {**before["xmatch"][0], "oid_catalog": "J1", "dist": 0.125}


def test_a_schema_is_chosen_by_the_search_path(postgresql_url):
    execute(postgresql_url, "CREATE SCHEMA alerts", "CREATE SCHEMA other")
    in_schema = postgresql_url.update_query_dict({"options": "-csearch_path=alerts,public"})
    store = Store.open(in_schema)
    assert store.init() == ["object", "allwise", "xmatch", "step"]
    store.check()
    write(store, *STREAM)
    store.close()
    assert tables_of(in_schema) == expected_tables(STREAM)
    # The tables are found wherever the path finds them.
    behind = Store.open(postgresql_url.update_query_dict({"options": "-csearch_path=other,alerts"}))
    assert behind.init() == []
    write(behind, Detection(facts("C"), wise("J3")))
    behind.close()
    assert len(tables_of(in_schema)["object"]) == 3
    elsewhere = Store.open(postgresql_url)
    assert elsewhere.init() == ["object", "allwise", "xmatch", "step"]
    elsewhere.close()
    assert tables_of(postgresql_url)["object"] == []


def test_a_replay_does_not_even_rewrite_rows(postgresql_url):
    store = Store.open(postgresql_url)
    store.init()
    write(store, *STREAM)
    before = tables_of(postgresql_url, columns="ctid, xmin, *")
    assert write(store, *STREAM).rows == {"object": 2, "allwise": 2, "xmatch": 3}
    store.close()
    assert tables_of(postgresql_url, columns="ctid, xmin, *") == before
