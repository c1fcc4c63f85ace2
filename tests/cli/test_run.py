from __future__ import annotations

import json

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.alerts.makers import pack, small_alert, unpack
from tests.cli.conftest import Made
from tests.services.kafka import KafkaBroker
from tests.services.postgres import Database, connect
from tests.services.process import MissingComponentError, free_ports
from tests.services.topics import produce, read_all
from tests.step.running import World
from xmatch_hats.cli.app import run
from xmatch_hats.matching import scheduling
from xmatch_hats.step.monitoring.monitor import Monitor

SECRET = "Hx7-hidden-q9Z"


@pytest.fixture(scope="module")
def strict_kafka(kafka_address):
    """A fresh broker that makes no topics by itself."""
    try:
        with KafkaBroker(auto_create_topics=False) as broker:
            yield broker.address
    except MissingComponentError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def world(kafka_address, made: Made) -> World:
    """One for all: a check changes nothing."""
    return World.make(kafka_address, made.copy)


@pytest.fixture
def ready_database(database: Database) -> dict[str, str]:
    """Settings of a database that has the tables."""
    variables = database_settings(database)
    with variables_set(variables):
        assert run(["db", "init"]) == 0
    return variables


@pytest.fixture(autouse=True)
def _log_is_the_tests(monkeypatch):
    """The log of the test runner stays as it is; processes of their own show what a user's looks like."""
    monkeypatch.setattr("xmatch_hats.step.monitoring.logs.set_up_logs", lambda *_, **__: None)


@pytest.fixture
def check(capsys):
    """Check settings; gives the exit code, all that was said, and the JSON object if one was asked for."""

    def call(variables: dict[str, str], *options: str) -> tuple[int, str, dict]:
        capsys.readouterr()
        with variables_set(variables):
            code = run(["run", "--check", *options])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert SECRET not in out + err
        return code, out + err, json.loads(out) if "--json" in options and out else {}

    return call


def variables_set(variables: dict[str, str]):
    from tests.step.settings.world import environment

    return environment(variables)


def database_settings(database: Database, **changes: object) -> dict[str, str]:
    values = {**database, **changes}
    return {"ENGINE": "postgresql"} | {f"DB_{name.upper()}": str(value) for name, value in values.items()}


def settings_of(address: str, made: Made) -> dict[str, str]:
    """The least that a step needs."""
    return {
        "CONSUMER_TOPICS": "in",
        "CONSUMER_SERVER": address,
        "CONSUMER_GROUP_ID": "group",
        "PRODUCER_TOPIC": "out",
        "PRODUCER_SERVER": address,
        "CATALOG": json.dumps([{"name": "allwise", "path": str(made.copy)}]),
        "WORKERS": "0",
    }


def topics_of(address: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=30).topics)


def groups_of(address: str) -> set[str]:
    listed = AdminClient({"bootstrap.servers": address, "log_level": 0}).list_consumer_groups().result(timeout=30)
    return {group.group_id for group in listed.valid}


def faults(report: dict) -> dict[str, dict]:
    return {item["what"]: item for item in report["checks"] if not item["ok"]}


def test_good_settings_are_told_and_pass(world, check, ready_database, tmp_path):
    (tmp_path / "7.avsc").write_text("{}")
    more = {"METRICS_HOST": world.address, "METRICS_TOPIC": "metrics-to-come", "SCHEMA_DIR": str(tmp_path)}
    code, text, report = check(world.environ(**ready_database, **more), "--json")
    assert code == 0, text
    assert report["ok"]
    details = {item["what"]: item["detail"] for item in report["checks"]}
    ends = ["source", "output", "metrics"]
    assert list(details) == ["settings", "catalogues", "schemas", "engine", "dask", "database", *ends]
    assert f"reads {world.topic} as group {world.group}, writes {world.out} at least once" in details["settings"]
    assert "allwise at " in details["catalogues"]
    assert "3,000 rows" in details["catalogues"]
    assert "margin 10 arcsec, radius 1 arcsec, 17 columns" in details["catalogues"]
    assert details["source"] == f"{world.topic} (2 partitions)"
    assert f"{world.out} (1 partitions, messages of at most " in details["output"]
    assert f"{world.dead} (1 partitions" in details["output"]
    assert details["metrics"] == "metrics-to-come is not there yet; the broker will make it"
    assert "metrics-to-come" not in topics_of(world.address)
    shown = {row["name"]: (row["value"], row["source"]) for row in report["settings"]}
    assert shown["DB_PASSWORD"] == ("***", "environment")
    assert shown["OUTPUT_SCHEMA"] == ("input", "default")
    code, text, _ = check(world.environ(**ready_database, **more))
    assert code == 0
    assert "DB_PASSWORD = ***  (environment)" in text
    assert f"ok   source: {world.topic} (2 partitions)" in text
    assert "FAIL" not in text


FAULTS = {
    "no such copy": ({"CATALOG": '[{"name": "elsewhere"}]'}, "catalogues", "CATALOG", "no catalogue is named"),
    "a radius beyond the margin": ("radius", "catalogues", "CATALOG", "margin"),
    "a column that is not there": ("columns", "catalogues", "CATALOG", "no column W9mag"),
    "no broker to read from": ({"CONSUMER_SERVER": "closed"}, "source", "CONSUMER_SERVER", "refused"),
    "no broker to write to": ({"PRODUCER_SERVER": "closed"}, "output", "PRODUCER_SERVER", "refused"),
    "no broker for metrics": (
        {"METRICS_HOST": "closed", "METRICS_TOPIC": "metrics"}, "metrics", "METRICS_HOST", "refused",
    ),
    "no topic to read": ({"CONSUMER_TOPICS": "never-made"}, "source", "CONSUMER_TOPICS", "no topic never-made"),
    "an expression that takes the output in": (
        {"CONSUMER_TOPICS": "^(in|out)-.*"}, "settings", "CONSUMER_TOPICS", "without end",
    ),
    "an option that librdkafka has not": (
        {"CONSUMER_CONF": '{"nonsense": 1}'}, "source", "CONSUMER_CONF", "nonsense",
    ),
    "options that do not go together": (
        {"PRODUCER_CONF": '{"max.in.flight": 100}'}, "output", "PRODUCER_CONF", "max.in.flight",
    ),
    "no scheduler": ({"DASK_SCHEDULER": "tcp://closed", "WORKERS": None}, "dask", "DASK_SCHEDULER", "cannot connect"),
    "a scheduler that is no address": (
        {"DASK_SCHEDULER": "nowhere", "WORKERS": None}, "dask", "DASK_SCHEDULER", "not the address",
    ),
    "no registry": (
        {"SCHEMA_REGISTRY_URL": f"http://me:{SECRET}@closed"}, "schemas", "SCHEMA_REGISTRY_URL", "cannot be reached",
    ),
    "no folder for the database's file": (
        {"ENGINE": "sqlite", "DB_NAME": "/nowhere/step.db"}, "database", "DB_NAME", "no such folder",
    ),
    "a database's file that is none": ({"ENGINE": "sqlite", "DB_NAME": __file__}, "database", "DB_NAME", "no database"),
    "no database server": (
        {"ENGINE": "postgresql", "DB_HOST": "127.0.0.1", "DB_PORT": "closed", "DB_USER": "me", "DB_NAME": "a",
         "DB_PASSWORD": SECRET}, "database", "DB_PORT", "refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told_with_its_setting(world, made, check, monkeypatch, fault):
    monkeypatch.setattr(scheduling, "CONNECT_SECONDS", 1.0)
    changes, what, setting, reason = FAULTS[fault]
    if isinstance(changes, str):
        wrong = {"radius": 11, "columns": ["W9mag"]}[changes]
        changes = {"CATALOG": json.dumps([{"name": "allwise", "path": str(made.copy), changes: wrong}])}
    closed = f"127.0.0.1:{free_ports(1)[0]}"
    changes = {name: value and value.replace("closed", closed) for name, value in changes.items()}
    if "DB_PORT" in changes:
        changes["DB_PORT"] = closed.rpartition(":")[2]
    code, text, report = check(world.environ(**changes), "--json")
    assert code == 1, text
    assert not report["ok"]
    found = faults(report)
    assert list(found) == [what]
    assert reason in found[what]["detail"]
    assert setting in found[what]["settings"] or setting in found[what]["detail"]
    code, text, _ = check(world.environ(**changes))
    assert code == 1
    assert text.count("FAIL ") == 1
    assert setting in text.partition(f"FAIL {what}: ")[2]


WRONG = {
    "a folder of schemas that is not there": ({"SCHEMA_DIR": "/nowhere/schemas"}, "SCHEMA_DIR"),
    "metrics without their topic": ({"METRICS_HOST": "127.0.0.1:9"}, "METRICS_TOPIC"),
    "no number": ({"CONSUME_MESSAGES": "many"}, "CONSUME_MESSAGES"),
    "a database without a name": ({"ENGINE": "sqlite", "DB_PASSWORD": SECRET}, "DB_NAME"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_settings_that_mean_nothing_exit_with_2(world, check, fault):
    changes, setting = WRONG[fault]
    code, text, _ = check(world.environ(**changes))
    assert code == 2
    assert setting in text
    assert len(text.splitlines()) == 1


def test_wrong_passwords_are_told_and_not_shown(kafka, world, check, database):
    locked = {
        f"{role}_{name}": value
        for role in ("CONSUMER", "PRODUCER")
        for name, value in (
            ("SERVER", kafka.scram["bootstrap.servers"]),
            ("KAFKA_USERNAME", "alice"),
            ("KAFKA_PASSWORD", SECRET),
            ("CONF", '{"security.protocol": "SASL_PLAINTEXT"}'),
        )
    }
    wrong = database_settings(database, password=SECRET)
    code, _, report = check(world.environ(**locked, **wrong), "--json")
    assert code == 1
    found = faults(report)
    assert set(found) == {"database", "source", "output"}
    assert "DB_PASSWORD" in found["database"]["settings"]
    assert "password authentication failed" in found["database"]["detail"]
    assert "CONSUMER_SERVER" in found["source"]["detail"]
    assert "uthentication failed" in found["source"]["detail"]
    assert "uthentication failed" in found["output"]["detail"]


def test_a_database_without_tables_is_told_and_stays_so(world, check, database):
    code, _, report = check(world.environ(**database_settings(database)), "--json")
    assert code == 1
    assert "there is no table object, allwise, xmatch, step" in faults(report)["database"]["detail"]
    assert "xmatch-hats db init" in faults(report)["database"]["detail"]
    with connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_check_changes_nothing(strict_kafka, made, check, ready_database, tmp_path):
    topics = {"in", "out", "out_dlq"}
    admin = AdminClient({"bootstrap.servers": strict_kafka})
    for made_topic in admin.create_topics([NewTopic(name, 1, 1) for name in topics]).values():
        made_topic.result(30)
    variables = settings_of(strict_kafka, made) | ready_database | {"DELIVERY": "exactly-once", "HTTP_PORT": "0"}
    code, text, _ = check(variables)
    assert code == 0, text
    # Not even those topics are there that a broker makes for its first group, or for the first transaction.
    assert topics_of(strict_kafka) == topics
    assert groups_of(strict_kafka) == set()
    file = tmp_path / "step.db"
    code, text, _ = check(variables | {"ENGINE": "sqlite", "DB_NAME": str(file)})
    assert code == 0
    assert "a run makes the file and its tables" in text
    assert list(tmp_path.iterdir()) == []
    with psycopg.connect(
        host=ready_database["DB_HOST"], port=ready_database["DB_PORT"], dbname=ready_database["DB_NAME"],
        user=ready_database["DB_USER"], password=ready_database["DB_PASSWORD"],
    ) as connection:  # fmt: skip
        assert connection.execute("SELECT count(*) FROM step").fetchone() == (0,)


def test_a_check_fences_no_transaction_of_a_running_step(world, check):
    name = f"{world.group}-transactions"
    running = Producer({"bootstrap.servers": world.address, "transactional.id": name})
    running.init_transactions(30)
    running.begin_transaction()
    running.produce(world.out, b"mine")
    running.flush(30)
    code, text, _ = check(world.environ(DELIVERY="exactly-once", TRANSACTIONAL_ID=name))
    assert code == 0, text
    running.commit_transaction(30)
    assert [message.value for message in read_all(world.address, world.out)] == [b"mine"]


@pytest.mark.parametrize(
    ("changes", "setting"),
    [({"PRODUCER_TOPIC": "never"}, "PRODUCER_TOPIC"), ({"DLQ_TOPIC": "never"}, "DLQ_TOPIC")],
    ids=["output", "dead letters"],
)
def test_topics_that_a_broker_does_not_make_are_missed(strict_kafka, made, check, changes, setting):
    world = World.make(strict_kafka, made.copy)
    if setting == "PRODUCER_TOPIC":
        changes = changes | {"DLQ_TOPIC": world.dead}
    code, _, report = check(world.environ(**changes), "--json")
    assert code == 1
    assert faults(report)["output"]["detail"].startswith(f"{setting}: there is no topic never")
    assert "never" not in topics_of(strict_kafka)


def test_dead_letters_need_no_topic_where_there_are_none(strict_kafka, made, check):
    world = World.make(strict_kafka, made.copy)
    code, text, _ = check(world.environ(ERROR_POLICY="skip", DLQ_TOPIC="never"))
    assert code == 0, text


def test_topics_that_a_broker_makes_are_not_made_by_a_check(world, check):
    code, text, _ = check(world.environ(PRODUCER_TOPIC="to-come-later"))
    assert code == 0
    assert "to-come-later is not there yet; the broker will make it" in text
    assert "to-come-later_dlq is not there yet; the broker will make it" in text
    assert not {"to-come-later", "to-come-later_dlq"} & topics_of(world.address)


def test_files_are_checked_without_kafka(made, check, tmp_path):
    catalog = json.dumps([{"name": "allwise", "path": str(made.copy)}])
    variables = {"SOURCE": str(tmp_path), "SINK": str(tmp_path.parent / "matched"), "CATALOG": catalog}
    code, text, _ = check(variables)
    assert code == 0
    assert f"ok   settings: reads {tmp_path}" in text
    assert "source:" not in text
    code, text, _ = check(variables | {"SOURCE": str(tmp_path / "gone")})
    assert code == 1
    assert "does not exist" in text


def test_a_run_over_files_takes_note_of_its_turns(made, tmp_path, monkeypatch):
    """What is looked at now and then, workers and caches among it, is told of as it is of a stream."""
    turns = []
    beat = Monitor.on_beat
    monkeypatch.setattr(Monitor, "on_beat", lambda monitor: (turns.append(monitor.partitions()), beat(monitor)))
    source = tmp_path / "in"
    source.mkdir()
    ra, dec = (made.sky[name][0].as_py() for name in ("ra", "dec"))
    (source / "7.avro").write_bytes(pack([small_alert(7, ra, dec)]))
    catalog = json.dumps([{"name": "allwise", "path": str(made.copy)}])
    files = {"SOURCE": str(source), "SINK": str(tmp_path / "out"), "CATALOG": catalog, "WORKERS": "0"}
    with variables_set(files):
        assert run(["run"]) == 0
    assert turns
    (alert,) = unpack((tmp_path / "out" / "7.avro").read_bytes())
    assert alert["xmatches"]["allwise"]["AllWISE"] == made.designations[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"CATALOG": '[{"name": "elsewhere"}]'}, ["CATALOG (environment)", "no catalogue is named elsewhere"]),
        ({"CONSUMER_CONF": '{"nonsense": 1}'}, ["CONSUMER_CONF (environment)", "nonsense"]),
        ({"DASK_SCHEDULER": "nowhere", "WORKERS": None}, ["DASK_SCHEDULER (environment)", "not the address"]),
        ({"CONSUMER_TOPICS": "^(in|out)-.*"}, ["CONSUMER_TOPICS", "without end"]),
        ({"PRODUCER_TOPIC": None}, ["PRODUCER_TOPIC", "is not set"]),
    ],
    ids=["catalogue", "option", "scheduler", "loop", "missing"],
)
def test_a_run_with_wrong_settings_exits_with_2(world, capsys, changes, words):
    with variables_set(world.environ(**changes)):
        assert run(["run"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for word in words:
        assert word in error


def test_a_step_that_has_read_everything_exits_with_0(kafka_address, made):
    world = World.make(kafka_address, made.copy)
    produce(kafka_address, world.topic, [pack([small_alert(7, made.sky["ra"][0].as_py(), made.sky["dec"][0].as_py())])])
    with variables_set(world.environ(ENABLE_PARTITION_EOF="true")):
        assert run(["run"]) == 0
    (message,) = read_all(kafka_address, world.out)
    (alert,) = unpack(message.value)
    assert alert["xmatches"]["allwise"]["AllWISE"] == made.designations[0]


def test_a_run_without_ends_exits_with_2(capsys):
    with variables_set({}):
        assert run(["run"]) == 2
    assert "SOURCE and SINK" in capsys.readouterr().err
