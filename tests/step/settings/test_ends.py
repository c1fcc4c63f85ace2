from __future__ import annotations

import pytest

from tests.step.settings.world import KAFKA, incompleteness_of, load
from xmatch_hats.step.settings import describe


def without(*names):
    return {name: value for name, value in KAFKA.items() if name not in names}


@pytest.mark.parametrize(
    "values",
    [
        KAFKA,
        without("CONSUMER_TOPICS") | {"TOPIC_STRATEGY_FORMAT": "ztf_%s_programid1"},
        KAFKA | {"DELIVERY": "exactly-once"},
        KAFKA | {"METRICS_HOST": "broker:9092", "METRICS_TOPIC": "metrics"},
        {"SOURCE": "in", "SINK": "out"},
        KAFKA | {"SOURCE": "in", "SINK": "out"},
    ],
)
def test_complete_settings(values):
    load(**values).require_complete()


def test_nothing_at_all_says_what_to_set():
    found = incompleteness_of(ENGINE="sqlite", DB_NAME="x", METRICS_HOST="b:1", METRICS_TOPIC="m")
    assert "nothing says where alerts come from and go to" in found
    for name in (*KAFKA, "SOURCE", "SINK"):
        assert name in found


@pytest.mark.parametrize("name", KAFKA)
def test_a_part_of_kafka_that_is_missing_is_named(name):
    assert incompleteness_of(**without(name)).startswith(f"{name}: is not set, and Kafka needs it")


def test_all_missing_parts_are_told():
    found = incompleteness_of(CONSUMER_TOPICS="a", PRODUCER_TOPIC="b")
    assert [line.split(":")[0].strip() for line in found.splitlines()[1:]] == [
        "CONSUMER_SERVER",
        "CONSUMER_GROUP_ID",
        "PRODUCER_SERVER",
    ]


def test_topics_by_name_exclude_topics_by_day():
    found = incompleteness_of(**KAFKA, TOPIC_STRATEGY_FORMAT="ztf_%s")
    assert found.startswith("CONSUMER_TOPICS (environment): excludes TOPIC_STRATEGY_FORMAT")


@pytest.mark.parametrize(("given", "missing"), [("SOURCE", "SINK"), ("SINK", "SOURCE")])
def test_files_at_one_end_only_are_refused(given, missing):
    assert incompleteness_of(**KAFKA, **{given: "x"}).startswith(f"{given} (environment): needs {missing} too")


@pytest.mark.parametrize(
    ("name", "value"), [("DELIVERY", "exactly-once"), ("REPLAY_FROM", "2024-01-01"), ("REPLAY_UNTIL", "2024-01-01")]
)
def test_files_cannot_keep_what_kafka_promises(name, value):
    assert incompleteness_of(SOURCE="in", SINK="out", **{name: value}).startswith(f"{name} (environment): ")


LOOPS = [
    ({"CONSUMER_TOPICS": "alerts,xmatch"}, "'xmatch' takes in 'xmatch', the topic of PRODUCER_TOPIC"),
    ({"CONSUMER_TOPICS": "^x.*"}, "'^x.*' takes in 'xmatch', the topic of PRODUCER_TOPIC"),
    ({"CONSUMER_TOPICS": "xmatch_dlq"}, "'xmatch_dlq' takes in 'xmatch_dlq', the topic of DLQ_TOPIC"),
    ({"CONSUMER_TOPICS": "^.*dead", "DLQ_TOPIC": "the-dead-letters"}, "the topic of DLQ_TOPIC"),
    (
        {"CONSUMER_TOPICS": "^m", "METRICS_HOST": "BROKER", "METRICS_TOPIC": "metrics"},
        "'^m' takes in 'metrics', the topic of METRICS_TOPIC",
    ),
    (
        {"CONSUMER_TOPICS": "", "TOPIC_STRATEGY_FORMAT": "ztf_%s", "PRODUCER_TOPIC": "ztf_20240131"},
        "'ztf_%s' takes in 'ztf_20240131', the topic of PRODUCER_TOPIC",
    ),
]


@pytest.mark.parametrize(("values", "message"), LOOPS)
def test_a_step_that_would_read_what_it_writes_is_refused(values, message):
    found = incompleteness_of(**KAFKA | values)
    assert message in found
    assert "without end" in found


@pytest.mark.parametrize(
    "values",
    [
        {"CONSUMER_TOPICS": "alerts,xmatch", "PRODUCER_SERVER": "other:9092"},
        {"CONSUMER_TOPICS": "^m", "METRICS_HOST": "other:9092", "METRICS_TOPIC": "metrics"},
        {"CONSUMER_TOPICS": "xmatch_dlq", "ERROR_POLICY": "skip"},
        {"CONSUMER_TOPICS": "match"},
        {"CONSUMER_TOPICS": "^match"},
        {"CONSUMER_TOPICS": "", "TOPIC_STRATEGY_FORMAT": "ztf_%s", "PRODUCER_TOPIC": "ztf_xmatch"},
    ],
)
def test_what_only_looks_like_a_loop_is_none(values):
    load(**KAFKA | values).require_complete()


def test_a_server_is_the_same_however_it_is_written():
    values = KAFKA | {"CONSUMER_TOPICS": "xmatch", "CONSUMER_SERVER": "a:9092,Broker", "PRODUCER_SERVER": "broker:9092"}
    assert "without end" in incompleteness_of(**values)


@pytest.mark.parametrize(
    "values",
    [{"DLQ_TOPIC": "xmatch"}, {"METRICS_HOST": "broker:9092", "METRICS_TOPIC": "xmatch"}],
)
def test_outputs_have_topics_of_their_own(values):
    assert "'xmatch' is the topic of PRODUCER_TOPIC too" in incompleteness_of(**KAFKA | values)


def test_exactly_once_needs_one_cluster():
    found = incompleteness_of(**KAFKA | {"DELIVERY": "exactly-once", "PRODUCER_SERVER": "other:9092"})
    assert found.startswith("DELIVERY (environment): exactly-once needs one Kafka cluster")
    servers = {"CONSUMER_SERVER": "a:1,b:9092", "PRODUCER_SERVER": "b,a:1"}
    load(**KAFKA | servers | {"DELIVERY": "exactly-once"}).require_complete()
    load(**KAFKA | {"PRODUCER_SERVER": "other:9092"}).require_complete()


def test_exactly_once_reads_what_was_committed():
    options = {"CONSUMER_CONF": '{"isolation.level": "read_uncommitted"}'}
    found = incompleteness_of(**KAFKA | options | {"DELIVERY": "exactly-once"})
    assert found.startswith("CONSUMER_CONF (environment): isolation.level=read_uncommitted")
    load(**KAFKA | options).require_complete()


def test_kafka_settings_beside_files_are_noted():
    rows = {name: source for name, _, source in describe(load(**KAFKA, SOURCE="in", SINK="out"))}
    assert rows["CONSUMER_TOPICS"] == "environment; not used with SOURCE and SINK"
    assert rows["PRODUCER_SERVER"] == "environment; not used with SOURCE and SINK"
    assert rows["SOURCE"] == "environment"
