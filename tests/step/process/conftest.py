"""What tests of step processes share: the program that forks them, a sky, topics and databases."""

from __future__ import annotations

import os
import uuid

import pytest

from tests.services.fixtures import POSTGRES_ENV
from tests.services.postgres import ExternalPostgres, PostgresServer
from tests.step.process.course import Course, produce_alerts
from tests.step.process.sky import PARTITIONS, make_alerts
from tests.step.process.steps import Zygote


@pytest.fixture(scope="session")
def session_zygote(tmp_path_factory, wise):
    zygote = Zygote(tmp_path_factory.mktemp("steps"))
    zygote.warm(wise[0].path)
    yield zygote
    zygote.close()


@pytest.fixture
def zygote(session_zygote):
    """Forks step processes; none outlives its test."""
    yield session_zygote
    session_zygote.kill_all()


@pytest.fixture(scope="session")
def make_stream(wise):
    """Make alerts of the sky."""
    return lambda count, seed=0: make_alerts(*wise, count, seed)


@pytest.fixture(scope="session")
def make_database(request):
    """Make empty databases; they are dropped at the end of the session."""
    external = os.environ.get(POSTGRES_ENV)
    server = ExternalPostgres(external) if external else request.getfixturevalue("postgres")
    made = []

    def make():
        made.append(server.create_database())
        return made[-1]

    yield make
    if isinstance(server, PostgresServer):
        server.ensure_running()
    for database in made:
        server.drop_database(database["name"])


@pytest.fixture(scope="session")
def begin_course(session_zygote, kafka_address, make_database):
    """Begin a course: alerts in a topic, or those of another course, and an output of its own."""

    def begin(stream=None, *, like=None, with_database=True, partitions=PARTITIONS, **more) -> Course:
        if like is None:
            topic = f"in-{uuid.uuid4().hex[:12]}"
            places = produce_alerts(kafka_address, topic, stream, partitions)
        else:
            stream, topic, places, partitions = like.stream, like.topic, like.places, like.partitions
        database = make_database() if with_database else None
        out = f"out-{uuid.uuid4().hex[:12]}"
        course = Course(
            session_zygote, kafka_address, stream, topic, places, out, database, partitions=partitions, **more
        )
        course.prepare()
        return course

    return begin


@pytest.fixture
def make_course(begin_course, zygote):
    """Begin a course whose steps do not outlive the test."""
    return begin_course
