"""Where a database is: an URL that SQLAlchemy opens, and its form without the password."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from xmatch_hats.errors import ConfigError

_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
}
"""What a setting may say to what SQLAlchemy calls it."""
_CHOICES = "postgresql or sqlite"
_SECRETS = ("password", "sslpassword")
"""Parts of an URL's query that nobody may see."""


def url_from_settings(
    engine: str,
    host: str | None,
    user: str | None,
    password: SecretStr | str | None,
    port: int | str | None,
    name: str | None,
) -> URL:
    """Make the URL of the database that the settings tell of.

    Parameters
    ----------
    engine : str
        ``postgresql`` (also ``postgres``, ``postgresql+psycopg``) or ``sqlite``.
    host, user, password, port : optional
        Of a PostgreSQL server; what is missing is left to PostgreSQL's own defaults. Not used for SQLite.
    name : str
        Name of the database; of SQLite, the path of its file.

    Raises
    ------
    ConfigError
        Another engine, no name, or a port that is no number from 1 to 65535.
    """
    driver = _DRIVERS.get(engine.strip().lower())
    if driver is None:
        raise ConfigError(f"no such engine: {engine!r}", place="ENGINE", hint=f"choose {_CHOICES}", value=engine)
    if not name:
        what = "the path of the SQLite file" if driver == "sqlite" else "the name of the database"
        raise ConfigError("no database is named", place="DB_NAME", hint=f"give {what}")
    if driver == "sqlite":
        return URL.create(driver, database=name)
    secret = password.get_secret_value() if isinstance(password, SecretStr) else password
    return URL.create(
        driver,
        username=user or None,
        password=secret or None,
        host=host or None,
        port=_port(port),
        database=name,
    )


def parse_url(url: URL | str) -> URL:
    """Read an URL, and choose the driver where it leaves the choice.

    Raises
    ------
    ConfigError
        It is no URL, or of a database that is not supported.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Whatever it is, a password may be in it.
        raise ConfigError(
            "not the URL of a database", hint="write postgresql://USER@HOST/NAME or sqlite:///PATH"
        ) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ConfigError(f"no such database: {parsed.drivername!r}", place=masked(parsed), hint=f"choose {_CHOICES}")
    return parsed.set(drivername=driver)


def masked(url: URL) -> str:
    """Text of an URL with ``***`` in place of its password."""
    hidden = {name: "***" for name in _SECRETS if name in url.query}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _port(port: int | str | None) -> int | None:
    if port is None or port == "":
        return None
    try:
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ConfigError(f"not a port: {port!r}", place="DB_PORT", hint="give a number from 1 to 65535", value=port)
    return number
