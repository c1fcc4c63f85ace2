"""``xmatch-hats run`` as a process of its own: what it writes, and how it ends before it has begun."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

import pytest

from tests.cli.conftest import Made
from tests.cli.test_run import SECRET, settings_of
from tests.services.process import free_ports
from tests.step.process.steps import Zygote
from tests.step.running import World


@pytest.fixture
def world(kafka_address, made: Made) -> World:
    return World.make(kafka_address, made.copy)


@pytest.fixture(scope="module")
def zygote(tmp_path_factory):
    """Forks the command line as processes of their own."""
    zygote = Zygote(tmp_path_factory.mktemp("steps"))
    yield zygote
    zygote.kill_all()
    zygote.close()


def ask_ready(port: int) -> dict[str, str]:
    """What a step waits for, by component."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        try:
            connection.request("GET", "/ready")
            return json.loads(connection.getresponse().read())["waiting_for"]
        except OSError:
            return {"http": "nobody listens"}


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_a_step_that_waits_for_its_broker_at_the_start_can_be_stopped(zygote, made, delivery):
    closed, port = free_ports(2)
    step = zygote.start(settings_of(f"127.0.0.1:{closed}", made) | {"DELIVERY": delivery, "HTTP_PORT": str(port)})
    step.until(lambda: set(ask_ready(port)) == {"producer", "joined"}, "the wait for its broker")
    code, _ = step.terminate()
    assert code == 0, step.log
    assert "told to stop: given up while waiting for producer" in step.log
    assert "Traceback" not in step.log


def test_nothing_that_a_process_writes_shows_a_secret(zygote, kafka, world):
    """Everything is wrong that has a password, and librdkafka says all that it can."""
    locked = json.dumps({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "debug": "all"})
    variables = world.environ(
        CONSUMER_SERVER=kafka.scram["bootstrap.servers"],
        CONSUMER_KAFKA_USERNAME="alice",
        CONSUMER_KAFKA_PASSWORD=SECRET,
        CONSUMER_CONF=locked,
        PRODUCER_CONF=json.dumps({"ssl.key.password": SECRET}),
        SCHEMA_REGISTRY_URL=f"http://me:{SECRET}@127.0.0.1:{free_ports(1)[0]}",
        ENGINE="postgresql",
        DB_HOST="127.0.0.1",
        DB_PORT=str(free_ports(1)[0]),
        DB_NAME="alerts",
        DB_USER="me",
        DB_PASSWORD=SECRET,
        LOG_LEVEL="debug",
    )
    step = zygote.start(variables, ["run", "--check"])
    assert step.wait() == 1, step.log
    assert "FAIL source" in step.out
    assert "FAIL database" in step.out
    assert "FAIL schemas" in step.out
    (port,) = free_ports(1)
    running = zygote.start(variables | {"HTTP_PORT": str(port), "RETRIES": "0"})
    running.until(lambda: len(ask_ready(port).get("database", "")) > 10, "the reason for the wait")
    told = json.dumps(ask_ready(port))
    assert "refused" in told
    assert running.terminate()[0] == 0
    # With the database, it would come to the broker that does not let it in.
    stranger = zygote.start(variables | {"HTTP_PORT": str(port), "ENGINE": ""})
    stranger.until(lambda: "source" in ask_ready(port), "the wait for its broker")
    told += json.dumps(ask_ready(port))
    assert stranger.terminate()[0] == 0
    told += "".join(each.out + each.log for each in (step, running, stranger))
    assert "SASL" in stranger.log
    assert SECRET not in told
    assert "Traceback" not in told
