from __future__ import annotations

import sqlite3
import threading

import pytest
import sqlalchemy as sa

from tests.store.databases import execute, in_threads
from tests.store.detections import Detection, facts, wise, write
from xmatch_hats.errors import StoreError
from xmatch_hats.store.store import Store


def test_init_makes_what_is_missing_and_nothing_else(url):
    execute(url, "CREATE TABLE allwise (oid_catalog VARCHAR PRIMARY KEY, mine INTEGER)")
    store = Store.open(url)
    assert store.init() == ["object", "xmatch", "step"]
    assert store.init() == []
    columns = {column["name"] for column in sa.inspect(sa.create_engine(url)).get_columns("allwise")}
    assert columns == {"oid_catalog", "mine"}


def test_tables_as_the_contract_has_them(store, url):
    inspector = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool))
    columns = {
        name: {column["name"]: column for column in inspector.get_columns(name)} for name in inspector.get_table_names()
    }
    assert set(columns) == {"object", "allwise", "xmatch", "step"}
    keys = {name: inspector.get_pk_constraint(name)["constrained_columns"] for name in columns}
    assert keys == {"object": ["oid"], "allwise": ["oid_catalog"], "xmatch": ["oid", "catid"], "step": ["step_id"]}
    not_null = {
        f"{table}.{name}" for table in columns for name, column in columns[table].items() if not column["nullable"]
    }
    assert {name for name in not_null if name.startswith(("object", "xmatch"))} == {
        *(f"object.{name}" for name in ("oid", "ndethist", "ncovhist", "meanra", "meandec", "deltajd", "firstmjd")),
        *(f"object.{name}" for name in ("lastmjd", "step_id_corr", "corrected", "stellar")),
        *(f"xmatch.{name}" for name in ("oid", "catid", "oid_catalog", "dist")),
    }
    doubles = {name for name, column in columns["allwise"].items() if "DOUBLE" in str(column["type"])}
    assert doubles == set(columns["allwise"]) - {"oid_catalog"}
    (key,) = inspector.get_foreign_keys("xmatch")
    assert (key["constrained_columns"], key["referred_table"]) == (["oid"], "object")


def test_steps_that_start_at_once_all_find_their_tables(url):
    stores = [Store.open(url) for _ in range(6)]
    failures = in_threads(*(lambda store=store: (store.init(), store.check()) for store in stores))
    assert failures == []


def test_a_folder_that_is_not_there(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/none/tables.db")
    with pytest.raises(StoreError, match="unable to open database file"):
        store.init()


def test_a_new_file_lets_readers_in_while_it_is_written(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/tables.db")
    store.init()
    write(store, Detection(facts("A"), wise("J1")))
    reader = sqlite3.connect(tmp_path / "tables.db", timeout=0, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM object").fetchone() == (1,)
    write(store, Detection(facts("B"), wise("J2")))
    assert reader.execute("SELECT count(*) FROM object").fetchone() == (1,)
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM object").fetchone() == (2,)
    reader.close()
    store.close()


def test_two_writers_of_a_file_wait_for_each_other(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/tables.db")
    store.init()
    holder = sqlite3.connect(tmp_path / "tables.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, holder.execute, ["COMMIT"])
    release.start()
    assert write(store, Detection(facts("A"), wise("J1")))["object"] == 1
    release.join()
    holder.close()
    store.close()
