from __future__ import annotations

import pytest
from pydantic import SecretStr

from xmatch_hats.errors import ConfigError, UsageError
from xmatch_hats.store.store import Store
from xmatch_hats.store.tables import columns_needed, own_table
from xmatch_hats.store.urls import masked, parse_url, url_from_settings


@pytest.mark.parametrize("engine", ["postgresql", "postgres", "postgresql+psycopg", " PostgreSQL "])
@pytest.mark.parametrize("password", ["p@ss/w:rd%", SecretStr("p@ss/w:rd%")])
def test_postgresql(engine, password):
    url = url_from_settings(engine, "db.example", "me", password, "5433", "alerts")
    assert url.drivername == "postgresql+psycopg"
    assert (url.host, url.username, url.password, url.port, url.database) == (
        "db.example",
        "me",
        "p@ss/w:rd%",
        5433,
        "alerts",
    )
    assert masked(url) == "postgresql+psycopg://me:***@db.example:5433/alerts"


@pytest.mark.parametrize("nothing", [None, ""])
def test_what_is_not_set_is_left_to_the_server_s_defaults(nothing):
    url = url_from_settings("postgresql", nothing, nothing, nothing, nothing, "alerts")
    assert masked(url) == "postgresql+psycopg:///alerts"


@pytest.mark.parametrize("name", ["tables.db", "/data/a b/50%?.db"])
def test_sqlite_takes_its_path_as_it_is(name):
    url = url_from_settings("sqlite", "ignored", "ignored", "ignored", 5432, name)
    assert url.get_backend_name() == "sqlite"
    assert url.database == name
    assert (url.host, url.password, url.port) == (None, None, None)


@pytest.mark.parametrize("engine", ["mysql", "postgresql+psycopg2", "", "mongo"])
def test_other_engines_are_refused_with_the_choices(engine):
    with pytest.raises(ConfigError) as caught:
        url_from_settings(engine, "host", "me", "hunter2", 1, "name")
    assert caught.value.place == "ENGINE"
    assert repr(engine) in caught.value.message
    assert caught.value.hint == "choose postgresql or sqlite"


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
@pytest.mark.parametrize("name", [None, ""])
def test_a_database_must_be_named(engine, name):
    with pytest.raises(ConfigError, match="DB_NAME: no database is named"):
        url_from_settings(engine, "host", "me", "hunter2", 1, name)


@pytest.mark.parametrize("port", ["x", 0, "65536", -1, "5.5"])
def test_ports_are_numbers(port):
    with pytest.raises(ConfigError, match="DB_PORT: not a port"):
        url_from_settings("postgresql", "host", "me", "hunter2", port, "name")


def test_urls_choose_the_driver():
    assert parse_url("postgresql://me:hunter2@host/name").drivername == "postgresql+psycopg"
    assert parse_url("sqlite:///a.db").drivername == "sqlite"


@pytest.mark.parametrize(
    "text", ["mysql://me:hunter2@host/name", "me:hunter2@host", "", "postgresql://me:hunter2@host:port/name"]
)
def test_wrong_urls_are_refused_without_the_password(text):
    with pytest.raises(ConfigError) as caught:
        Store.open(text)
    assert "hunter2" not in f"{caught.value} {caught.value!r}"
    assert "postgresql" in str(caught.value)


def test_passwords_in_a_query_are_masked_too():
    store = Store.open("postgresql://host/name?user=me&password=hunter2&sslpassword=hunter3&sslmode=require")
    assert "hunter" not in store.place + repr(store)
    assert "sslmode=require" in store.place


def test_columns_that_a_copy_must_have():
    needed = columns_needed(own_table("allwise"), "designation")
    assert needed[:5] == ("designation", "ra", "dec", "w1mpro", "w2mpro")
    assert set(needed[3:]) == {
        *(f"w{band}{what}" for band in (1, 2, 3, 4) for what in ("mpro", "sigmpro")),
        *(f"{band}_{what}_2mass" for band in "jhk" for what in ("m", "msig")),
    }
    assert columns_needed(own_table("gcvs"), "number") == ("number",)
    assert columns_needed(own_table(None), "number") == ("number",)
    with pytest.raises(UsageError, match="known are: allwise"):
        columns_needed("gaia", "source_id")


def test_the_catalogue_s_definition_has_them():
    from xmatch_hats.catalogs.definition import load_definition

    definition = load_definition("allwise")
    assert set(columns_needed("allwise", definition.label_column)) == set(definition.xmatch_columns)
