from __future__ import annotations

import uuid

import pytest

from tests.store.databases import execute, tables_of
from xmatch_hats.errors import StoreError
from xmatch_hats.store.store import Store


def refused(store):
    with pytest.raises(StoreError) as caught:
        store.check()
    assert caught.value.place == store.place
    return caught.value


def test_what_init_made_is_right(store, url):
    store.check()
    assert tables_of(url) == {"object": [], "allwise": [], "xmatch": []}


def test_missing_tables_are_named(store, url):
    execute(url, "DROP TABLE xmatch", "DROP TABLE step")
    error = refused(store)
    assert error.message == "there is no table xmatch, step"
    assert "`xmatch-hats db init`" in error.hint
    store.init()
    store.check()


def test_a_file_that_does_not_exist_is_not_made(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/tables.db")
    error = refused(store)
    assert error.message == "the database does not exist"
    assert "`xmatch-hats db init`" in error.hint
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "tables.db").write_text("oid,ndethist\n" * 200)
    assert "not a database" in refused(Store.open(f"sqlite:///{tmp_path}/tables.db")).message


def test_missing_columns_are_named(store, url):
    execute(url, "ALTER TABLE object DROP COLUMN stellar", "ALTER TABLE object DROP COLUMN deltajd")
    error = refused(store)
    assert error.message == "the table object lacks the columns deltajd, stellar"
    assert "`xmatch-hats db init`" in error.hint


def test_columns_that_must_be_filled_are_named(store, url):
    execute(
        url,
        "ALTER TABLE xmatch ADD COLUMN fine INTEGER NOT NULL DEFAULT 3",
        "DROP TABLE step",
        "CREATE TABLE step (step_id VARCHAR PRIMARY KEY, name VARCHAR, version VARCHAR, comments VARCHAR, "
        "date TIMESTAMP, owner VARCHAR NOT NULL)",
    )
    assert refused(store).message == "the table step demands values that the step does not have: owner"


def test_a_table_without_its_key_is_named(store, url):
    execute(url, "ALTER TABLE xmatch RENAME TO keyed", "CREATE TABLE xmatch AS SELECT * FROM keyed")
    error = refused(store)
    assert error.message.startswith("the table xmatch cannot take the rows of the step")
    assert "ON CONFLICT" in error.message
    assert "the key (oid, catid)" in error.hint


def test_a_type_that_does_not_fit_is_found(postgresql_url):
    store = Store.open(postgresql_url)
    store.init()
    execute(postgresql_url, "ALTER TABLE allwise ALTER COLUMN w1mpro TYPE BOOLEAN USING true")
    assert 'column "w1mpro" is of type boolean' in refused(store).message
    store.close()


def test_rights_that_were_not_granted_are_found(postgresql_url):
    owner = Store.open(postgresql_url)
    owner.init()
    role = f"reader_{uuid.uuid4().hex[:12]}"
    execute(postgresql_url, f"CREATE ROLE {role}", f"GRANT SELECT ON object, allwise, xmatch, step TO {role}")
    try:
        reader = Store.open(postgresql_url.update_query_dict({"options": f"-crole={role}"}))
        assert "permission denied for table object" in refused(reader).message
        execute(postgresql_url, f"GRANT INSERT, UPDATE ON object, allwise, xmatch, step TO {role}")
        reader.check()
        reader.close()
    finally:
        owner.close()
        execute(postgresql_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
