from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.step.settings.world import KAFKA, fault_of, load
from xmatch_hats.step.settings import CatalogSettings, StepSettings, describe, settings_reference


def test_defaults_are_those_of_the_contract():
    settings = load()
    assert settings.engine is None
    assert settings.db_port == 5432
    assert settings.enable_partition_eof is False
    assert (settings.consume_messages, settings.consume_timeout) == (1000, 10.0)
    assert (settings.retries, settings.retry_interval, settings.stop_timeout) == (3, 1.0, 8.0)
    assert (settings.topic_strategy_change_hour, settings.topic_strategy_days) == (23, 8)
    assert settings.catalog == (CatalogSettings(name="allwise"),)
    assert (settings.position, settings.key) == (("candidate.ra", "candidate.dec"), ("objectId",))
    assert settings.id == ("candid", "candidate.candid")
    assert (settings.output_schema, settings.error_policy, settings.delivery) == ("input", "dlq", "at-least-once")
    assert (settings.http_port, settings.http_host) == (None, "127.0.0.1")
    assert (settings.workers, settings.worker_cache_bytes, settings.match_engine) == (None, None, "resident")
    assert (settings.step_version, settings.log_format, settings.log_level) == ("dev", None, "info")


@pytest.mark.parametrize("word", ["False", "false", "FALSE", "no", "No", "0", "off", " false "])
def test_words_for_false_are_false(word):
    assert load(ENABLE_PARTITION_EOF=word).enable_partition_eof is False


@pytest.mark.parametrize("word", ["True", "true", "yes", "YES", "1", "on"])
def test_words_for_true_are_true(word):
    assert load(ENABLE_PARTITION_EOF=word).enable_partition_eof is True


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ENGINE", "postgres", None),
        ("ENGINE", "PostgreSQL", None),
        ("DB_PORT", "6432", 6432),
        ("CONSUMER_TOPICS", "one, two ,,one", ("one", "two")),
        ("CONSUMER_TOPICS", r"^ztf_\d{8,8}_(a|b),plain", (r"^ztf_\d{8,8}_(a|b)", "plain")),
        ("CONSUMER_SERVER", "a:9092, [::1]:9093", "a:9092,[::1]:9093"),
        ("TOPIC_STRATEGY_FORMAT", "ztf_%s_programid1, lsst-%Y%m%d", ("ztf_%s_programid1", "lsst-%Y%m%d")),
        ("CONSUME_TIMEOUT", "0.5", 0.5),
        ("RETRIES", "0", 0),
        ("TOPIC_STRATEGY_CHANGE_HOUR", "0", 0),
        ("OUTPUT_SCHEMA", "ZTF-3.3", "ztf-3.3"),
        ("ERROR_POLICY", "skip", "skip"),
        ("DELIVERY", "exactly-once", "exactly-once"),
        ("POSITION", "diaSource.ra,diaSource.dec", ("diaSource.ra", "diaSource.dec")),
        ("KEY", "diaObject.diaObjectId, diaSource.ssObjectId", ("diaObject.diaObjectId", "diaSource.ssObjectId")),
        ("WORKERS", "0", 0),
        ("WORKER_CACHE_BYTES", "2GiB", 2 << 30),
        ("WORKER_CACHE_BYTES", "1.5 kB", 1500),
        ("WORKER_CACHE_BYTES", "1048576", 1 << 20),
        ("MATCH_ENGINE", "LSDB", "lsdb"),
        ("HTTP_PORT", "0", 0),
        ("LOG_FORMAT", "json", "json"),
        ("LOG_LEVEL", "DEBUG", "debug"),
        ("SOURCE", "~/packets", None),
    ],
)
def test_texts_become_values(name, text, value):
    needs = {"DB_NAME": "ztf", "DB_HOST": "host", "DB_USER": "user"} if name == "ENGINE" else {}
    settings = load(**needs, **{name: text})
    expected = {"ENGINE": "postgresql", "SOURCE": Path.home() / "packets"}.get(name, value)
    assert getattr(settings, name.lower()) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("CONSUME_MESSAGES", "abc", "must be a whole number of at least 1, not 'abc'"),
        ("CONSUME_MESSAGES", "0", "must be a whole number of at least 1, not '0'"),
        ("CONSUME_MESSAGES", "1e3", "must be a whole number of at least 1, not '1e3'"),
        ("CONSUME_TIMEOUT", "0", "must be a number of seconds above 0, not '0'"),
        ("CONSUME_TIMEOUT", "inf", "must be a number of seconds above 0, not 'inf'"),
        ("RETRY_INTERVAL", "nan", "must be a number of seconds above 0, not 'nan'"),
        ("RETRIES", "-1", "must be a whole number of at least 0, not '-1'"),
        ("STOP_TIMEOUT", "8s", "must be a number of seconds above 0, not '8s'"),
        ("TOPIC_STRATEGY_CHANGE_HOUR", "24", "must be a whole number from 0 to 23, not '24'"),
        ("TOPIC_STRATEGY_DAYS", "0", "must be a whole number of at least 1, not '0'"),
        ("DB_PORT", "65536", "must be a whole number from 1 to 65535, not '65536'"),
        ("HTTP_PORT", "http", "must be a whole number from 0 to 65535, not 'http'"),
        ("WORKERS", "-1", "must be a whole number of at least 0, not '-1'"),
        ("WORKER_CACHE_BYTES", "2 elephants", "not '2 elephants' (such as 500MB or 2GiB)"),
        ("WORKER_CACHE_BYTES", "-1", "must be a number of bytes"),
        ("WORKER_CACHE_BYTES", "1e999GiB", "must be a number of bytes"),
        ("MATCH_ENGINE", "fast", "must be one of resident, lsdb, not 'fast'"),
        ("ENABLE_PARTITION_EOF", "maybe", "must be true or false (or yes, no, on, off, 1, 0), not 'maybe'"),
        ("ENGINE", "mysql", "must be one of sqlite, postgresql, not 'mysql'"),
        ("ERROR_POLICY", "ignore", "must be one of dlq, skip, fail, not 'ignore'"),
        ("DELIVERY", "exactly_once", "must be one of at-least-once, exactly-once, not 'exactly_once'"),
        ("OUTPUT_SCHEMA", "3.3", "must be one of input, ztf-3.3, not '3.3'"),
        ("LOG_LEVEL", "loud", "must be one of debug, info, warning, error, not 'loud'"),
        ("LOG_FORMAT", "xml", "must be one of json, text, not 'xml'"),
        ("POSITION", "candidate.ra", "must be 2 field paths separated by a comma, not 'candidate.ra'"),
        ("POSITION", "ra,dec,z", "must be 2 field paths"),
        ("KEY", "object id", "must be field paths separated by commas, not 'object id'"),
        ("ID", "candidate..candid", "must be field paths"),
        ("CONSUMER_TOPICS", "good,b ad", "regular expressions that begin with ^, not 'b ad'"),
        ("CONSUMER_TOPICS", "^(open", "not '^(open' (the regular expression cannot be read)"),
        ("PRODUCER_TOPIC", "a,b", "must be the name of a topic"),
        ("PRODUCER_TOPIC", "..", "must be the name of a topic"),
        ("DLQ_TOPIC", "x" * 250, "must be the name of a topic"),
        ("CONSUMER_SERVER", "broker:abc", "must be host:port of a Kafka broker, not 'broker:abc'"),
        ("PRODUCER_SERVER", "broker:70000", "must be host:port of a Kafka broker"),
        ("METRICS_HOST", "http://broker:9092/x", "must be host:port of a Kafka broker"),
        ("SCHEMA_REGISTRY_URL", "registry:8081", "must be an address that begins with http:// or https://, not ***"),
        ("SCHEMA_DIR", "/nowhere/at/all", "must be a folder, and there is none, not '/nowhere/at/all'"),
        ("SCHEMA_DIR", "x" * 5000, "must be a folder, and it cannot be looked at"),
        ("DASK_TLS_CERT", "/nowhere/at/all.pem", "must be a file, and there is none"),
        ("REPLAY_FROM", "yesterday", "must be a time since 1970 in ISO 8601, or milliseconds since 1970"),
        ("REPLAY_FROM", "9" * 30, "must be a time since 1970"),
        ("REPLAY_UNTIL", "1969-12-31T23:59:59Z", "must be a time since 1970"),
        ("SOURCE", "a\nb", "must be a path, not 'a\\nb'"),
        ("CONSUMER_GROUP_ID", "a\tb", "must be one line of text, not 'a\\tb'"),
    ],
)
def test_wrong_values_are_named_with_place_value_and_fix(name, text, message):
    assert (found := fault_of(**{name: text})).startswith(f"{name} (environment): ")
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize("text", ["ztf", "ztf_%s_%s", "ztf_%s_%Y", "ztf_%H", "ztf_%", "ztf %Y%m%d", "ztf_%%", "%d/%m"])
def test_formats_without_a_date_or_with_a_doubtful_one_are_refused(text):
    found = fault_of(TOPIC_STRATEGY_FORMAT=text)
    assert found.startswith("TOPIC_STRATEGY_FORMAT (environment): must be names of daily topics")
    assert found.endswith(f"not {text!r} (such as ztf_%s_programid1)")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-31", datetime(2024, 1, 31, tzinfo=UTC)),
        ("20240131", datetime(2024, 1, 31, tzinfo=UTC)),
        ("2024-01-31T06:30:00", datetime(2024, 1, 31, 6, 30, tzinfo=UTC)),
        ("2024-01-31 06:30:00.25Z", datetime(2024, 1, 31, 6, 30, 0, 250_000, tzinfo=UTC)),
        ("2024-01-31T06:30:00-03:00", datetime(2024, 1, 31, 9, 30, tzinfo=UTC)),
        ("1706682600000", datetime(2024, 1, 31, 6, 30, tzinfo=UTC)),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text, moment):
    found = load(REPLAY_FROM=text).replay_from
    assert found == moment
    assert found.utcoffset() == timedelta(0)


@settings(deadline=None)
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),
    st.integers(-12 * 60, 14 * 60).map(lambda m: timedelta(minutes=m)),
)
def test_any_time_in_any_zone_is_the_same_moment(naive, offset):
    moment = naive.replace(tzinfo=timezone(offset))
    assert StepSettings(replay_from=moment.isoformat()).replay_from == moment
    assert StepSettings(replay_from=moment).replay_from == moment


def test_the_end_of_a_replay_must_be_after_its_start():
    found = fault_of(REPLAY_FROM="2024-02-01", REPLAY_UNTIL="2024-02-01")
    assert "REPLAY_UNTIL (environment): 2024-02-01T00:00:00+00:00 is not after REPLAY_FROM" in found
    assert load(REPLAY_FROM="2024-02-01", REPLAY_UNTIL="2024-02-01T00:00:00.001").replay_until is not None


def test_empty_variables_are_not_set():
    names = [name for name, _, _ in settings_reference()]
    assert load(**dict.fromkeys(names, ""), DB_PASSWORD_FILE="", DB_ENGINE=" ") == load()


def test_all_wrong_settings_are_told_at_once():
    found = fault_of(
        CONSUME_MESSAGES="abc", RETRIES="-2", METRICS_TOPIC="m", ENGINE="sqlite", CONSUMER_KAFKA_USERNAME="me"
    )
    lines = found.splitlines()
    assert lines[0] == "5 settings are wrong:"
    assert {line.split()[0] for line in lines[1:]} == {
        "CONSUME_MESSAGES", "RETRIES", "METRICS_TOPIC", "ENGINE", "CONSUMER_KAFKA_USERNAME",
    }  # fmt: skip


def test_a_partner_that_is_wrong_is_not_called_missing():
    found = fault_of(METRICS_TOPIC="m", METRICS_HOST="broker:x")
    assert found.startswith("METRICS_HOST (environment): must be host:port")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"METRICS_HOST": "b:1"}, "METRICS_HOST (environment): needs METRICS_TOPIC too"),
        ({"METRICS_TOPIC": "m"}, "METRICS_TOPIC (environment): needs METRICS_HOST too"),
        ({"CONSUMER_KAFKA_USERNAME": "u"}, "CONSUMER_KAFKA_USERNAME (environment): needs CONSUMER_KAFKA_PASSWORD too"),
        ({"PRODUCER_KAFKA_PASSWORD": "p"}, "PRODUCER_KAFKA_PASSWORD (environment): needs PRODUCER_KAFKA_USERNAME too"),
        ({"METRICS_KAFKA_USERNAME": "u"}, "METRICS_KAFKA_USERNAME (environment): needs METRICS_KAFKA_PASSWORD too"),
        ({"ENGINE": "sqlite"}, "ENGINE (environment): sqlite needs DB_NAME"),
        ({"DB_ENGINE": "postgresql", "DB_HOST": "h"}, "DB_ENGINE (environment): postgresql needs DB_NAME and DB_USER"),
        (
            {"WORKERS": "2", "DASK_SCHEDULER": "tcp://s:8786"},
            "WORKERS (environment): is for a cluster of the step's own",
        ),
    ],
)
def test_partners_are_needed(values, message):
    assert fault_of(**values).startswith(message)


def test_tls_of_dask_needs_all_three_files_and_an_address_of_tls(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("pem")
    files = {
        "DASK_TLS_CA_FILE": str(tmp_path / "ca"),
        "DASK_TLS_CERT": str(tmp_path / "cert"),
        "DASK_TLS_KEY": str(tmp_path / "key"),
    }
    assert load(DASK_SCHEDULER="tls://s:8786", **files).dask_tls_ca_file == tmp_path / "ca"
    assert "without TLS" in fault_of(DASK_SCHEDULER="tcp://s:8786", **files)
    for name in files:
        left = {other: path for other, path in files.items() if other != name}
        assert f"needs {name} too" in fault_of(**left)


def test_two_names_of_the_engine_must_agree():
    assert load(ENGINE="sqlite", DB_ENGINE="sqlite", DB_NAME="x").engine == "sqlite"
    assert load(DB_ENGINE="sqlite", DB_NAME="x").engine == "sqlite"
    found = fault_of(ENGINE="sqlite", DB_ENGINE="postgresql", DB_NAME="x")
    assert found == "ENGINE (environment): ENGINE and DB_ENGINE are both set, and differ (remove one of them)"


def test_database_settings_without_an_engine_are_noted():
    rows = {name: (value, source) for name, value, source in describe(load(DB_HOST="h", DB_PASSWORD="p"))}
    assert rows["DB_HOST"] == ("h", "environment; not used without ENGINE")
    assert rows["DB_PASSWORD"] == ("***", "environment; not used without ENGINE")
    assert rows["DB_PORT"] == ("5432", "default")


def test_derived_names(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "pod-3")
    settings = load(**KAFKA)
    assert settings.dead_letter_topic == "xmatch_dlq"
    assert settings.transaction_id == "group-pod-3"
    chosen = load(**KAFKA, DLQ_TOPIC="bad", TRANSACTIONAL_ID="mine")
    assert (chosen.dead_letter_topic, chosen.transaction_id) == ("bad", "mine")
    assert (load().dead_letter_topic, load().transaction_id) == (None, None)
    rows = {name: value for name, value, _ in describe(settings)}
    assert (rows["DLQ_TOPIC"], rows["TRANSACTIONAL_ID"]) == ("xmatch_dlq", "group-pod-3")


def test_settings_cannot_be_changed():
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.retries = 5
    with pytest.raises(ValueError, match="frozen"):
        settings.catalog[0].radius = 2.0


def test_the_reference_tells_every_setting_with_a_sentence():
    rows = settings_reference()
    assert [name for name, _, _ in rows] == [name.upper() for name in StepSettings.model_fields]
    for name, _, description in rows:
        assert description.endswith("."), name
        assert description[0].isupper(), name
    defaults = {name: default for name, default, _ in rows}
    assert defaults["CONSUME_MESSAGES"] == "1000"
    assert defaults["DLQ_TOPIC"] == "<PRODUCER_TOPIC>_dlq"
    assert defaults["CATALOG"] == '[{"name": "allwise"}]'
    assert defaults["POSITION"] == "candidate.ra,candidate.dec"
    assert defaults["DB_HOST"] == ""


def test_the_reference_gives_defaults_that_load():
    derived = {"DLQ_TOPIC", "TRANSACTIONAL_ID"}
    given = {name: default for name, default, _ in settings_reference() if default and name not in derived}
    assert load(**given) == load()
