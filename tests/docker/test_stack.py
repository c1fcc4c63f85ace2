"""The services of the compose file in their order, without containers: real Kafka, PostgreSQL and Dask on loopback."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.alerts.makers import unpack
from tests.docker.commands import becomes_healthy, messages_of, placed, running
from tests.docker.parts import PROJECT, compose, image, run
from tests.services.process import free_ports

ALERTS = 100
SERVICES = compose(PARTITIONS="2", SAMPLE_ALERTS=str(ALERTS), SAMPLE_ROWS="5000", DASK_WORKER_MEMORY="1GiB")["services"]


class Stack:
    """Services as this machine runs them: the commands and variables of the file, with addresses of this machine."""

    def __init__(self, folder: Path, kafka_address: str, database: dict, topic_name) -> None:
        self.ports = dict(zip(("8786", "8787", "8788", "8080"), free_ports(4), strict=True))
        topics = [word for word in SERVICES["topics"]["command"] if not word.startswith("--")]
        self.topics = {name: topic_name(name) for name in topics}
        (folder / "secrets").mkdir()
        (folder / "secrets" / "db_password").write_text(database["password"])
        self.places = {
            **{path: str(PROJECT / source) for path, source in image().copied().items()},
            "/run/secrets": str(folder / "secrets"),
            "kafka:9092": kafka_address,
            "dask-scheduler": "127.0.0.1",
            "0.0.0.0": "127.0.0.1",
            **{old: str(new) for old, new in self.ports.items()},
            **self.topics,
        }
        self.folder = folder
        self.database = database

    def command(self, name: str) -> list[str]:
        service, stage = SERVICES[name], image()
        entrypoint = service.get("entrypoint", stage.exec_form("ENTRYPOINT"))
        command = service.get("command", [] if "entrypoint" in service else stage.exec_form("CMD"))
        return [placed(word, self.places) for word in [*entrypoint, *command]]

    def environment(self, name: str) -> dict[str, str]:
        given = SERVICES[name].get("environment", {})
        found = {key: placed(value, self.places) for key, value in given.items() if value is not None}
        if "DB_HOST" in found:
            found |= {f"DB_{key.upper()}": str(self.database[key]) for key in ("host", "port", "user", "name")}
        mine = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(self.ports["8080"])}
        return found | mine | {"XMATCH_HATS_CATALOGS": str(self.folder / "catalogs"), "TMPDIR": str(self.folder)}

    def once(self, name: str) -> str:
        result = run(*self.command(name), env=self.environment(name), cwd=self.folder)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def running(self, name: str):
        return running(self.command(name), self.log(name), **self.environment(name))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def is_healthy(self, port: str, path: str) -> bool:
        return becomes_healthy(f"http://127.0.0.1:{self.ports[port]}{path}")


@pytest.fixture
def stack(tmp_path, kafka_address, database, topic_name) -> Stack:
    return Stack(tmp_path, kafka_address, database, topic_name)


# A minute of processes; the files, the commands of Dask and the step itself have tests of their own in every run.
@pytest.mark.campaign
def test_the_samples_alerts_come_out_matched(stack, kafka_address):
    made = stack.once("topics")
    assert all(f"{topic}: made, with 2 partitions" in made for topic in stack.topics.values())
    assert "made" in stack.once("db-init")
    assert f"{ALERTS} sent" in stack.once("sample")
    (listed,) = json.loads(run("xmatch-hats", "catalog", "list", "--json", env=stack.environment("catalog")).stdout)
    assert (listed["name"], listed["rows"]) == ("allwise", 5000)
    assert not list(stack.folder.glob("tmp*")), "the sample leaves nothing behind"
    with stack.running("dask-scheduler"):
        assert stack.is_healthy("8787", "/health"), stack.log("dask-scheduler").read_text()
        with stack.running("dask-worker"):
            assert stack.is_healthy("8788", "/health"), stack.log("dask-worker").read_text()
            with stack.running("step") as step:
                assert stack.is_healthy("8080", "/ready"), stack.log("step").read_text()
                assert stack.is_healthy("8080", "/live")
                wait_for_all(stack, kafka_address, step)
            assert step.returncode == 0, stack.log("step").read_text()
    out, dead = written(stack, kafka_address)
    assert len(out) + len(dead) == ALERTS
    matched = [alert for _, _, value in out for alert in unpack(value) if alert["xmatches"]]
    assert dead, "the sample has damaged packets"
    assert 0 < len(matched) < len(out)
    assert rows_in(stack.database, "xmatch") == len({alert["objectId"] for alert in matched})


def written(stack: Stack, address: str) -> tuple[list, list]:
    """What is in the output topic, and among the dead letters."""
    return messages_of(address, stack.topics["ztf_xmatch"]), messages_of(address, stack.topics["ztf_xmatch_dlq"])


def wait_for_all(stack: Stack, address: str, step: subprocess.Popen[bytes]) -> None:
    """Wait until the step has written as many messages as were fed."""
    deadline = time.monotonic() + 90
    while sum(map(len, written(stack, address))) < ALERTS:
        assert step.poll() is None, stack.log("step").read_text()
        assert time.monotonic() < deadline, stack.log("step").read_text()
        time.sleep(0.5)


def rows_in(database: dict, table: str) -> int:
    parameters = {key: database[key] for key in ("host", "port", "user", "password")}
    with psycopg.connect(**parameters, dbname=database["name"]) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
