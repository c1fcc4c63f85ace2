"""A database of each kind, empty."""

from __future__ import annotations

import pytest
from sqlalchemy import URL

from xmatch_hats.store.store import Store
from xmatch_hats.store.urls import url_from_settings


def url_of(database) -> URL:
    """The URL of what the fixture `database` gives."""
    return url_from_settings(
        "postgresql",
        database["host"],
        database["user"],
        database["password"],
        database["port"],
        database["name"],
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> URL:
    if request.param == "sqlite":
        return url_from_settings("sqlite", None, None, None, None, str(tmp_path / "tables.db"))
    return url_of(request.getfixturevalue("database"))


@pytest.fixture
def postgresql_url(database) -> URL:
    return url_of(database)


@pytest.fixture
def store(url):
    """A store whose tables have been made."""
    store = Store.open(url, step_version="1.2.3")
    store.init()
    yield store
    store.close()
