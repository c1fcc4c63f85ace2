from __future__ import annotations

import sqlite3

import pytest

from xmatch_hats.cli import app as root

NAMES = ("ENGINE", "DB_ENGINE", "DB_HOST", "DB_USER", "DB_PASSWORD", "DB_PASSWORD_FILE", "DB_PORT", "DB_NAME")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sqlite_file(tmp_path, monkeypatch):
    path = tmp_path / "tables.db"
    monkeypatch.setenv("ENGINE", "sqlite")
    monkeypatch.setenv("DB_NAME", str(path))
    return path


@pytest.fixture
def server(database, monkeypatch):
    monkeypatch.setenv("DB_ENGINE", "postgresql")
    for name in ("host", "user", "password", "port", "name"):
        monkeypatch.setenv(f"DB_{name.upper()}", str(database[name]))
    return database


def test_init_then_check(sqlite_file, capsys):
    assert root.run(["db", "init"]) == 0
    assert capsys.readouterr().out == f"sqlite:///{sqlite_file}: made object, allwise, xmatch, step\n"
    names = {row[0] for row in sqlite3.connect(sqlite_file).execute("SELECT name FROM sqlite_master")}
    assert names >= {"object", "allwise", "xmatch", "step"}
    assert root.run(["db", "init"]) == 0
    assert capsys.readouterr().out == f"sqlite:///{sqlite_file}: all tables are there already\n"
    assert root.run(["db", "check"]) == 0
    assert capsys.readouterr().out == f"sqlite:///{sqlite_file}: all tables are there, and can be written to\n"


def test_the_names_of_the_settings_reach_postgresql(server, capsys):
    assert root.run(["db", "init"]) == 0
    captured = capsys.readouterr()
    assert "made object, allwise, xmatch, step" in captured.out
    assert f"{server['host']}:{server['port']}/{server['name']}" in captured.out
    assert root.run(["db", "check"]) == 0
    assert server["password"] not in captured.out + captured.err + capsys.readouterr().out


def test_the_password_may_come_from_a_file(server, monkeypatch, tmp_path):
    (tmp_path / "password").write_text(f"{server['password']}\n")
    monkeypatch.delenv("DB_PASSWORD")
    monkeypatch.setenv("DB_PASSWORD_FILE", str(tmp_path / "password"))
    assert root.run(["db", "init"]) == 0


def test_settings_may_come_from_a_file(tmp_path, capsys):
    config = tmp_path / "step.toml"
    config.write_text('engine = "sqlite"\ndb_name = "beside.db"\n')
    assert root.run(["db", "init", "--config", str(config)]) == 0
    assert (tmp_path / "beside.db").is_file()


def test_a_wrong_password_is_one_line_without_it(server, monkeypatch, capsys):
    monkeypatch.setenv("DB_PASSWORD", "hunter2")
    for verb in ("init", "check"):
        assert root.run(["db", verb]) == 1
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert "password authentication failed" in line
        assert "hunter2" not in line
        assert captured.out == ""


def test_check_names_what_is_missing(sqlite_file, capsys):
    with sqlite3.connect(sqlite_file) as connection:
        connection.execute("CREATE TABLE object (oid TEXT PRIMARY KEY)")
    assert root.run(["db", "check"]) == 1
    assert "there is no table allwise, xmatch, step" in capsys.readouterr().err
    # What is missing is made; what does not fit is told, and stays.
    assert root.run(["db", "init"]) == 1
    assert "the table object lacks the columns ndethist, ncovhist" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["init", "check"])
def test_without_a_database_in_the_settings(verb, capsys):
    assert root.run(["db", verb]) == 2
    assert "no database is configured" in capsys.readouterr().err


@pytest.mark.parametrize(("engine", "told"), [("mysql", "postgresql"), ("sqlite", "DB_NAME")])
def test_settings_that_cannot_be(engine, told, monkeypatch, capsys):
    monkeypatch.setenv("ENGINE", engine)
    assert root.run(["db", "check"]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["init", "check"])
def test_every_verb_has_an_example(verb, capsys):
    assert root.run(["db", verb, "-h"]) == 0
    assert f"Example: xmatch-hats db {verb}" in capsys.readouterr().out
