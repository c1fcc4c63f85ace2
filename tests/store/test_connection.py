from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from tests.store.databases import tables_of
from tests.store.detections import Answer, Detection, expected_tables, facts, wise, write
from xmatch_hats.errors import StoreError
from xmatch_hats.store.store import Store

FIRST = Detection(facts("ZTF1"), wise("J1"))
SECOND = Detection(facts("ZTF2"), wise("J2"))

END_OUR_SESSIONS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'xmatch-hats'
"""


@pytest.fixture
def remote(postgresql_url):
    """A store on PostgreSQL whose tables have been made."""
    store = Store.open(postgresql_url)
    store.init()
    yield store
    store.close()


@pytest.fixture
def admin(postgresql_url):
    with sa.create_engine(postgresql_url, poolclass=sa.NullPool).connect() as connection:
        yield connection


@pytest.mark.parametrize("kill", [False, True])
def test_a_server_that_goes_and_comes_back(postgres, postgresql_url, remote, kill):
    write(remote, FIRST)
    postgres.stop(kill)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            write(remote, SECOND)
        assert caught.value.place == remote.place
        assert "see that the server is up" in caught.value.hint
        assert postgresql_url.password not in str(caught.value)
    postgres.start()
    assert write(remote, SECOND).rows == {"object": 1, "allwise": 1, "xmatch": 1}
    remote.check()
    assert tables_of(postgresql_url) == expected_tables([FIRST, SECOND])


def test_a_session_that_ended_between_batches_is_not_even_noticed(postgresql_url, remote, admin):
    write(remote, FIRST)
    assert admin.execute(sa.text(END_OUR_SESSIONS)).all() == [(True,)]
    write(remote, SECOND)
    assert tables_of(postgresql_url) == expected_tables([FIRST, SECOND])


def test_a_session_that_ends_within_a_batch_leaves_nothing_of_it(postgresql_url, remote, admin):
    write(remote, FIRST)
    admin.execute(sa.text("LOCK TABLE xmatch IN ACCESS EXCLUSIVE MODE"))
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write, remote, SECOND)
        try:
            wait_until_waiting(postgresql_url, 1)
        finally:
            admin.execute(sa.text(END_OUR_SESSIONS))
        with pytest.raises(StoreError, match="terminating connection"):
            writing.result()
    admin.rollback()
    assert tables_of(postgresql_url) == expected_tables([FIRST])
    write(remote, SECOND)
    assert tables_of(postgresql_url) == expected_tables([FIRST, SECOND])


UNSEEN_OBJECT = """
    INSERT INTO object (oid, ndethist, ncovhist, firstmjd, lastmjd, deltajd, meanra, meandec, step_id_corr,
        corrected, stellar)
    VALUES ('ZTF4', 1, 1, 0, 0, 0, 0, 0, '', false, false)
"""


@pytest.mark.parametrize(
    ("answers", "known", "hold"),
    [
        (lambda name: wise(f"J-{name}"), False, UNSEEN_OBJECT),
        (lambda name: wise(f"J-{name}"), True, "SELECT * FROM allwise WHERE oid_catalog = 'J-ZTF4' FOR UPDATE"),
        (lambda name: {"gcvs": Answer(int(name[3:]))}, True, "SELECT * FROM xmatch WHERE oid = 'ZTF4' FOR UPDATE"),
    ],
    ids=["object", "allwise", "xmatch"],
)
def test_steps_never_wait_in_a_circle(postgresql_url, remote, admin, answers, known, hold):
    # One row is held until both steps wait. Had each taken its rows in the order of its alerts, each would then hold
    # what the other needs next.
    stream = [Detection(facts(f"ZTF{number}"), answers(f"ZTF{number}")) for number in range(9)]
    if known:
        write(remote, *stream)
    admin.execute(sa.text(hold))
    other = Store.open(postgresql_url)
    with ThreadPoolExecutor(2) as threads:
        writing = [threads.submit(write, remote, *stream), threads.submit(write, other, *stream[::-1])]
        try:
            wait_until_waiting(postgresql_url, 2)
        finally:
            admin.rollback()
        assert [task.result()["xmatch"] for task in writing] == [9, 9]
    other.close()
    assert tables_of(postgresql_url) == expected_tables(stream)


def wait_until_waiting(url, sessions):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 30
    # Within one transaction the view would not change.
    with sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        while connection.scalar(sa.text(waiting)) < sessions:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"password": "hunter2"}, "password authentication failed"),
        ({"username": "stranger", "password": "hunter2"}, 'failed for user "stranger"'),
        ({"database": "no_such", "password": None}, '"no_such" does not exist'),
        ({"port": 1}, "port 1 failed"),
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid"),
    ],
)
def test_a_server_that_lets_nobody_in_is_told_without_the_password(postgresql_url, changes, told, caplog):
    caplog.set_level(logging.DEBUG)
    password = changes.get("password") or postgresql_url.password
    store = Store.open(postgresql_url.set(**{name: value for name, value in changes.items() if value is not None}))
    for call in (store.check, store.init, store.write_step, lambda: write(store, Detection(facts(), wise()))):
        with pytest.raises(StoreError) as caught:
            call()
        assert told in str(caught.value)
        assert caught.value.place == store.place
        assert "***" in store.place
        texts = [str(caught.value), repr(caught.value), repr(caught.value.__cause__), repr(store), caplog.text]
        assert not [text for text in texts if password in text]


def test_a_database_of_another_encoding(postgresql_url):
    name = f"{postgresql_url.database}_latin1"
    with sa.create_engine(postgresql_url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            store = Store.open(postgresql_url.set(database=name))
            store.init()
            write(store, Detection(facts("\u00fc"), wise("J1")))
            with pytest.raises(StoreError, match="has no equivalent in encoding"):
                write(store, Detection(facts("\u03a9"), wise("J2")))
            store.close()
            in_utf8 = postgresql_url.set(database=name).update_query_dict({"client_encoding": "utf8"})
            assert [row["oid"] for row in tables_of(in_utf8)["object"]] == ["\u00fc"]
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
