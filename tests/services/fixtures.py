"""Fixtures that give tests real servers, started when first asked for and kept for the session."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.services.kafka import KafkaBroker
from tests.services.mock import MockKafka
from tests.services.postgres import Database, ExternalPostgres, PostgresServer
from tests.services.process import AnyServer, MissingComponentError

KAFKA_ENV, POSTGRES_ENV = "XMATCH_HATS_TEST_KAFKA", "XMATCH_HATS_TEST_POSTGRES"

_started: list[KafkaBroker | PostgresServer] = []


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """The session's own broker, which a test may stop, kill, halt and start again."""
    if os.environ.get(KAFKA_ENV):
        pytest.skip(f"needs a broker of its own to stop and start, and {KAFKA_ENV} names another")
    with _made(KafkaBroker) as broker:
        _started.append(broker)
        yield broker
        _started.remove(broker)


@pytest.fixture(scope="session")
def kafka_address(request: pytest.FixtureRequest) -> str:
    """``host:port`` of a real broker: the one in the environment, else the session's own."""
    return os.environ.get(KAFKA_ENV) or request.getfixturevalue("kafka").address


@pytest.fixture(scope="session")
def mock_kafka() -> Iterator[str]:
    """``host:port`` of librdkafka's mock cluster: at-least-once anywhere, without Java; see `MockKafka`."""
    with MockKafka() as cluster:
        yield cluster.address


@pytest.fixture
def topic_name() -> Callable[..., str]:
    """Make a topic's name that nobody has used; ``topic_name("alerts")`` is ``alerts-3f2a…``."""

    def make(stem: str = "topic") -> str:
        return f"{stem}-{uuid.uuid4().hex[:12]}"

    return make


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's own PostgreSQL, which a test may stop, kill and start again."""
    if os.environ.get(POSTGRES_ENV):
        pytest.skip(f"needs a PostgreSQL of its own to stop and start, and {POSTGRES_ENV} names another")
    with _made(PostgresServer) as server:
        _started.append(server)
        yield server
        _started.remove(server)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Host, port, user, password and name of an empty database of the test's own, in a real PostgreSQL."""
    external = os.environ.get(POSTGRES_ENV)
    server = ExternalPostgres(external) if external else request.getfixturevalue("postgres")
    parameters = server.create_database()
    yield parameters
    server.drop_database(parameters["name"])


@pytest.fixture(autouse=True)
def _servers_are_up() -> Iterator[None]:
    """No test pays for a server that the one before it left stopped, nor what is made for a whole module."""
    yield
    for server in _started:
        server.ensure_running()


def _made(make: Callable[[], AnyServer]) -> AnyServer:
    """Make a server, or say that this machine has not what it takes."""
    from tests.conftest import on_ci

    try:
        return make()
    except MissingComponentError as error:
        missing = str(error)
    if on_ci():
        pytest.fail(f"{missing}; under CI=true it must be there", pytrace=False)
    pytest.skip(missing)


@pytest.fixture
def s3_endpoint(monkeypatch):
    """Have the places of s3 lie at a server; gives a client of that server."""
    import boto3
    from s3fs import S3FileSystem

    def use(url: str):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
        # fsspec keeps file systems for the whole process, whatever server they were made for.
        S3FileSystem.clear_instance_cache()
        return boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )

    yield use
    S3FileSystem.clear_instance_cache()
