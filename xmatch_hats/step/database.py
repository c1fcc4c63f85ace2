"""The database of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmatch_hats.errors import ConfigError
from xmatch_hats.store.store import Store
from xmatch_hats.store.urls import url_from_settings

if TYPE_CHECKING:
    from xmatch_hats.step.settings import StepSettings


def open_store(settings: StepSettings) -> Store:
    """Open the database of the settings; nothing connects yet.

    Raises
    ------
    ConfigError
        There is none, or its settings are wrong.
    """
    if settings.engine is None:
        raise ConfigError(
            "no database is configured", place="ENGINE", hint="set it to postgresql or sqlite, and DB_NAME and the rest"
        )
    url = url_from_settings(
        settings.engine,
        settings.db_host,
        settings.db_user,
        settings.db_password,
        settings.db_port,
        settings.db_name,
    )
    return Store.open(url, step_version=settings.step_version)
