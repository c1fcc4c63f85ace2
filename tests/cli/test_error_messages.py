"""Every line of the table of error messages, typed."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from astropy.coordinates import SkyCoord

import xmatch_hats
from tests.cli.error_table import PAGE, Call, Row, page_of, read_calls, read_rows
from tests.images.ldac import write_ldac
from tests.images.skies import header, write_tile
from xmatch_hats.cli.app import app, run
from xmatch_hats.errors import XmatchError
from xmatch_hats.step.settings import settings_reference

ROWS, CALLS = read_rows(), read_calls()
FILES = {
    "t.csv": "name,ra,dec\na,0.01,-0.02\nb,0.1,0.2\n",
    "noradec.csv": "name,x,y\na,1,2\n",
    "ragged.csv": "name,ra,dec\na,1,2\nb,1\n",
    "notes.txt": "this is no table\n",
    "notes.fits": "this is no table\n",
    "typo.toml": 'CONSUMER_SERVR = "localhost:9092"\n',
    "packets/a.avro": "this is no packet\n",
    "taken/file": "",
    "psf-51.sqlite": "SQLite format 3\0",
}


@pytest.fixture(scope="module")
def folder(made, plain_copy, tmp_path_factory) -> Path:
    """Where the lines are typed; none of them may change it."""
    folder = tmp_path_factory.mktemp("errors")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with tarfile.open(folder / "alerts.tar", "w") as archive:
        archive.add(folder / "packets" / "a.avro", "a.avro")
    write_tile(folder / "image-51.fits", header(0.02, -0.03, crpix=(250.0, 200.0)), (500, 400))
    columns = {"X_WORLD": made.ra[:50], "Y_WORLD": made.dec[:50], "MAG_AUTO": made.ra[:50]}
    whole = write_ldac(folder / "cat-51.fits", columns).read_bytes()
    (folder / "short-51.fits").write_bytes(whole[:20_000])
    shutil.copytree(made.copy, folder / "sky")
    shutil.copytree(made.copy, folder / "damaged")
    (folder / "damaged" / "xmatch_hats.json").write_text("{")
    shutil.copytree(plain_copy, folder / "plain")
    stars = folder / "root" / "stars"
    stars.mkdir(parents=True)
    (stars / "v1").symlink_to(folder / "plain")
    (stars / "current").symlink_to("v1")
    return folder


@pytest.fixture
def typed(folder, monkeypatch, capsys):
    """Type a line; gives exit code and what is told, with paths below the folder as ``./``."""
    monkeypatch.setattr("xmatch_hats.step.monitoring.logs.set_up_logs", lambda *_, **__: None)
    for name, *_ in settings_reference():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(folder / "root"))
    monkeypatch.delenv("XMATCH_HATS_CONFIG", raising=False)
    monkeypatch.chdir(folder)

    def typed(row: Row) -> tuple[int, str]:
        for name, value in row.environment.items():
            monkeypatch.setenv(name, value)
        code = run(row.arguments)
        out, err = capsys.readouterr()
        assert out == ""
        return code, err.replace(str(folder), ".").rstrip("\n")

    return typed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.command)
def test_what_is_typed_and_what_comes_back(row, typed, folder):
    before = sorted(path.name for path in folder.iterdir())
    assert typed(row) == (row.code, row.told)
    # Settings are told all at once, so that nobody has to come back for the next.
    wrong = re.match(r"xmatch-hats: ([0-9]+) settings are wrong:", row.told)
    assert 1 <= len(row.told.splitlines()) <= (1 + int(wrong[1]) if wrong else 2)
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.source)
def test_what_is_called_and_what_is_raised(call: Call, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(folder / "root"))
    names = {name: getattr(xmatch_hats, name) for name in xmatch_hats.__all__}
    with pytest.raises(XmatchError) as caught:
        eval(call.source, names | {"pd": pd, "SkyCoord": SkyCoord, "t": pd.read_csv("t.csv")})
    assert f"{caught.type.__name__}: {caught.value}".replace(str(folder), ".") == call.raised


def test_the_table_has_every_verb():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    assert {row.verb for row in ROWS} >= names
    assert len(ROWS) >= 40


def test_the_page_is_that_of_the_table():
    assert PAGE.read_text() == page_of(ROWS, CALLS), "python -m tests.cli.error_table writes it anew"
