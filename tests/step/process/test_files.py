"""A step with files at both ends, as a process: done, or told to stop before its end."""

from __future__ import annotations

import io
import json
import signal
import tarfile
from pathlib import Path

import fastavro
import pytest

from tests.step.process.sky import Sky

BOUND = 10.0
"""Seconds within which a step that is told to stop has ended."""

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


@pytest.fixture(scope="module")
def sky(make_stream) -> Sky:
    return make_stream(1500, seed=3)


@pytest.fixture(scope="module")
def archive(sky, tmp_path_factory) -> Path:
    """The alerts' packets, numbered, in an archive."""
    path = tmp_path_factory.mktemp("archive") / "night.tar"
    with tarfile.open(path, "w") as tar:
        for number, message in enumerate(sky.messages):
            member = tarfile.TarInfo(f"{number}.avro")
            member.size = len(message.value)
            tar.addfile(member, io.BytesIO(message.value))
    return path


@pytest.fixture
def start(zygote, sky, archive, tmp_path):
    """Start a step that reads the archive and writes into a folder; gives it, and that folder."""

    def begin(**settings: str):
        environ = {
            "CATALOG": json.dumps([{"name": "allwise", "path": str(sky.copy)}]),
            "CONSUME_MESSAGES": "50",
            "LOG_FORMAT": "json",
            **settings,
        }
        out = tmp_path / "ends" / "matched"
        out.parent.mkdir()
        arguments = ("run", "--source", str(archive), "--sink", str(out), "--workers", "0")
        return zygote.start(environ, arguments), out

    return begin


def test_every_packet_of_an_archive_comes_out(start, sky):
    step, out = start()
    assert step.wait() == 0, step.log[-4000:]
    assert sorted(path.name for path in out.parent.iterdir()) == ["matched"]
    assert len(list(out.iterdir())) == len(sky.alerts)
    for number, (alert, match) in enumerate(zip(sky.alerts, sky.matches, strict=True)):
        (found,) = fastavro.reader(io.BytesIO((out / f"{number}.avro").read_bytes()))
        xmatches = found.pop("xmatches")
        assert found == alert
        assert (xmatches and xmatches["allwise"]["AllWISE"]) == (match and match[0]["designation"])
    assert "1,500" in step.out


@pytest.mark.parametrize("number", CODES)
def test_told_to_stop_it_leaves_nothing(start, number):
    step, out = start()
    step.until(lambda: step.batches > 0, "a batch")
    code, _ = step.terminate(number, timeout_s=BOUND)
    assert code == CODES[number]
    assert list(out.parent.iterdir()) == []


def test_told_to_stop_while_it_waits_it_leaves_nothing(start, postgres, make_database):
    database = make_database()
    postgres.stop()
    step, out = start(
        ENGINE="postgresql",
        DB_HOST=database["host"],
        DB_PORT=str(database["port"]),
        DB_USER=database["user"],
        DB_PASSWORD=database["password"],
        DB_NAME=database["name"],
        RETRIES="20",
    )
    step.says("waiting for database")
    code, _ = step.terminate(timeout_s=BOUND)
    assert code == CODES[signal.SIGTERM]
    assert list(out.parent.iterdir()) == []
