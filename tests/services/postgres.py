"""A real PostgreSQL on loopback, of what the system has. ``python -m tests.services.postgres`` runs one for people."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from tests.services.process import (
    MissingComponentError,
    ServerProcess,
    ServiceError,
    as_user,
    free_ports,
    run_in_foreground,
)

HOST = "127.0.0.1"
USER, PASSWORD = "xmatch", "xmatch-secret"
SYSTEM_DATABASE = "postgres"
UNSAFE_AND_FAST = ("fsync=off", "full_page_writes=off")
"""What is committed still survives the death of the server, though not that of the machine."""


class Database(TypedDict):
    """Where a database is and who may enter."""

    host: str
    port: int
    user: str
    password: str
    name: str


class ExternalPostgres:
    """A PostgreSQL that somebody else runs.

    Parameters
    ----------
    url : str
        ``postgresql://user:password@host:port/database``, of a user that may make databases.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._entry = Database(
            host=parts.hostname or "localhost",
            port=parts.port or 5432,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            name=parts.path.lstrip("/") or SYSTEM_DATABASE,
        )

    def create_database(self) -> Database:
        """Make an empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return Database(**{**self._entry, "name": name})

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with connect(self._entry, autocommit=True) as connection:
            connection.execute(statement)


class PostgresServer(ExternalPostgres):
    """A server whose port and data stay the same from the first start to `close`.

    PostgreSQL refuses to run as root; root's runs as ``postgres`` where there is such a user, else as ``nobody``.

    Parameters
    ----------
    fast : bool
        Leave out what guards the data against the death of the machine.
    """

    def __init__(self, *, fast: bool = True) -> None:
        self._bin = _find_binaries()
        self._user = _another_user() if os.geteuid() == 0 else None
        # Not a folder of pytest's, into which that user cannot go.
        self.folder = Path(tempfile.mkdtemp(prefix="xmatch-hats-postgres-"))
        self._data = self.folder / "data"
        self._options = UNSAFE_AND_FAST if fast else ()
        self._process = ServerProcess("PostgreSQL", self.folder, self._user)
        (port,) = free_ports(1)
        self._entry = Database(host=HOST, port=port, user=USER, password=PASSWORD, name=SYSTEM_DATABASE)

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        if not self._data.exists():
            self._initialise()
        options = (f"listen_addresses={HOST}", "unix_socket_directories=", *self._options)
        command = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self._entry["port"])]
        for option in options:
            command += ["-c", option]
        self._process.start(command)
        self._process.wait_for(self._answers)

    def stop(self, kill: bool = False) -> None:
        """End it, with all its connections; the data stay."""
        # SIGINT, since after SIGTERM it waits until the last client has left.
        self._process.stop(signal.SIGKILL if kill else signal.SIGINT)

    def restart(self, kill: bool = False) -> None:
        """Stop and start, on the same port and data."""
        self.stop(kill)
        self.start()

    def ensure_running(self) -> None:
        """Start it if it is stopped."""
        if not self.running:
            self.start()

    def close(self) -> None:
        """End it and remove its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            for path in (self.folder, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command = [str(self._bin / "initdb"), "-D", str(self._data), "--username", USER, "--pwfile", str(password)]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120, **as_user(self._user)
        )
        password.unlink()
        if done.returncode:
            raise ServiceError(f"initdb failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _answers(self) -> bool:
        try:
            connect(self._entry).close()
        except psycopg.OperationalError:
            return False
        return True


def connect(database: Database, *, autocommit: bool = False) -> psycopg.Connection:
    """Connect to a database, by the driver alone."""
    return psycopg.connect(
        host=database["host"],
        port=database["port"],
        user=database["user"],
        password=database["password"],
        dbname=database["name"],
        connect_timeout=5,
        autocommit=autocommit,
    )


def _find_binaries() -> Path:
    for folder in _candidates():
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise MissingComponentError("PostgreSQL (initdb, postgres) is not installed")


def _candidates() -> Iterator[Path]:
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    if asked := shutil.which("pg_config"):
        told = subprocess.run([asked, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(told.stdout.strip())
    # Debian keeps them off the path, a folder for each version; the newest first.
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)


def _another_user() -> str:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise MissingComponentError("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def _for_people(server: PostgresServer) -> str:
    database = server.create_database()
    host, port, user, password, name = (database[key] for key in ("host", "port", "user", "password", "name"))
    return f"""PostgreSQL answers at {host}:{port}; Ctrl-C stops it and throws its data away.

For the step:
export ENGINE=postgresql DB_HOST={host} DB_PORT={port} DB_USER={user} DB_PASSWORD={password} DB_NAME={name}

For the tests, in the place of a server of their own:
export XMATCH_HATS_TEST_POSTGRES=postgresql://{user}:{password}@{host}:{port}/{SYSTEM_DATABASE}
"""


if __name__ == "__main__":
    sys.exit(run_in_foreground(PostgresServer, _for_people))
