"""Rules between settings: what goes together, what excludes what, and what must be there to run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xmatch_hats.step.settings.kafka import hosts, reads_topic
from xmatch_hats.step.settings.problem import Problem

if TYPE_CHECKING:
    from xmatch_hats.step.settings.model import StepSettings

_TOGETHER = (
    ("metrics_host", "metrics_topic"),
    ("consumer_kafka_username", "consumer_kafka_password"),
    ("producer_kafka_username", "producer_kafka_password"),
    ("metrics_kafka_username", "metrics_kafka_password"),
    ("dask_tls_ca_file", "dask_tls_cert", "dask_tls_key"),
)
_DATABASE_NEEDS = {"postgresql": ("db_name", "db_host", "db_user"), "sqlite": ("db_name",)}
_KAFKA_NEEDS = ("consumer_server", "consumer_group_id", "producer_topic", "producer_server")
_KAFKA_SAYS = ("consumer_topics", "topic_strategy_format", *_KAFKA_NEEDS)


def problems_of_parts(settings: StepSettings) -> list[Problem]:
    """Find settings that contradict each other or lack their partner, whatever the settings are used for."""
    return [*_lone(settings), *_database(settings), *_replay(settings), *_dask(settings)]


def problems_of_ends(settings: StepSettings) -> list[Problem]:
    """Find what keeps the loop from running: ends that are missing, that do not fit, or that feed each other."""
    if settings.source is not None or settings.sink is not None:
        return list(_files(settings))
    if not any(getattr(settings, name) for name in _KAFKA_SAYS):
        return [
            Problem(
                _KAFKA_SAYS,
                "settings",
                "nothing says where alerts come from and go to",
                "set CONSUMER_TOPICS, CONSUMER_SERVER, CONSUMER_GROUP_ID, PRODUCER_TOPIC and PRODUCER_SERVER for "
                "Kafka, or SOURCE and SINK for files",
            )
        ]
    return [
        *_missing(settings),
        *_topics(settings),
        *_same_topics(settings),
        *_loops(settings),
        *_exactly_once(settings),
    ]


def names_of(attributes: tuple[str, ...] | list[str]) -> str:
    """Write settings by their names in the environment, ``A, B and C``."""
    names = [attribute.upper() for attribute in attributes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _place(settings: StepSettings, attribute: str) -> str:
    return settings.origin(attribute).place


def _lone(settings: StepSettings) -> Iterator[Problem]:
    for group in _TOGETHER:
        given = [name for name in group if getattr(settings, name) is not None]
        missing = [name for name in group if name not in given]
        if given and missing:
            fix = f"set {names_of(missing)}, or remove {names_of(given)}"
            yield Problem(group, _place(settings, given[0]), f"needs {names_of(missing)} too", fix)


def _database(settings: StepSettings) -> Iterator[Problem]:
    if settings.engine is None:
        return
    needed = _DATABASE_NEEDS[settings.engine]
    if missing := [name for name in needed if getattr(settings, name) is None]:
        yield Problem(
            ("engine", *missing),
            _place(settings, "engine"),
            f"{settings.engine} needs {names_of(missing)}",
            f"set {names_of(missing)}, or remove ENGINE to run without a database",
        )


def _replay(settings: StepSettings) -> Iterator[Problem]:
    start, end = settings.replay_from, settings.replay_until
    if start is not None and end is not None and end <= start:
        yield Problem(
            ("replay_from", "replay_until"),
            _place(settings, "replay_until"),
            f"{end.isoformat()} is not after REPLAY_FROM, {start.isoformat()}",
            "give a later time; a date alone means its first moment, UTC",
        )


def _dask(settings: StepSettings) -> Iterator[Problem]:
    address = settings.dask_scheduler
    if address is None:
        return
    if settings.workers is not None:
        yield Problem(
            ("dask_scheduler", "workers"),
            _place(settings, "workers"),
            "is for a cluster of the step's own, and DASK_SCHEDULER names another",
            "remove one of the two",
        )
    if settings.dask_tls_cert is not None and not address.startswith(("tls://", "wss://")):
        yield Problem(
            ("dask_scheduler", "dask_tls_cert"),
            _place(settings, "dask_scheduler"),
            "is an address without TLS, and DASK_TLS_CERT is set",
            "write tls:// before the address, or remove the settings of TLS",
        )


def _files(settings: StepSettings) -> Iterator[Problem]:
    if not settings.uses_files:
        given, missing = ("source", "sink") if settings.sink is None else ("sink", "source")
        yield Problem(
            ("source", "sink"),
            _place(settings, given),
            f"needs {missing.upper()} too: a step reads and writes files, or reads and writes Kafka",
            f"set {missing.upper()}, or remove {given.upper()}",
        )
    if settings.delivery == "exactly-once":
        yield Problem(
            ("delivery", "source", "sink"),
            _place(settings, "delivery"),
            "exactly-once is possible between Kafka topics only",
            "remove it, or SOURCE and SINK",
        )
    for name in ("replay_from", "replay_until"):
        if getattr(settings, name) is not None:
            message = "chooses messages of Kafka by their time; files have none"
            yield Problem((name, "source"), _place(settings, name), message, "remove it, or SOURCE and SINK")


def _missing(settings: StepSettings) -> Iterator[Problem]:
    for name in _KAFKA_NEEDS:
        if getattr(settings, name) is None:
            meaning = (type(settings).model_fields[name].description or "").rstrip(".")
            yield Problem((name,), name.upper(), "is not set, and Kafka needs it", f"set it: {meaning}")


def _topics(settings: StepSettings) -> Iterator[Problem]:
    both = ("consumer_topics", "topic_strategy_format")
    given = [name for name in both if getattr(settings, name)]
    if len(given) == 2:
        message = "excludes TOPIC_STRATEGY_FORMAT: topics are given by name, or by the day"
        yield Problem(both, _place(settings, given[0]), message, "remove one of the two")
    elif not given:
        yield Problem(both, "CONSUMER_TOPICS", "is not set, and Kafka needs it", "set it, or TOPIC_STRATEGY_FORMAT")


def _outputs(settings: StepSettings) -> list[tuple[str, str, str | None]]:
    """Setting, topic and server of everything that is written to Kafka."""
    dead_letters = settings.dead_letter_topic if settings.error_policy == "dlq" else None
    outputs = [
        ("producer_topic", settings.producer_topic, settings.producer_server),
        ("dlq_topic", dead_letters, settings.producer_server),
        ("metrics_topic", settings.metrics_topic, settings.metrics_host),
    ]
    return [(name, topic, server) for name, topic, server in outputs if topic is not None]


def _same_topics(settings: StepSettings) -> Iterator[Problem]:
    outputs = _outputs(settings)
    for number, (name, topic, server) in enumerate(outputs):
        for other, other_topic, other_server in outputs[:number]:
            if topic == other_topic and hosts(server) & hosts(other_server):
                message = f"{topic!r} is the topic of {other.upper()} too"
                yield Problem((name, other), _place(settings, name), message, "give each a topic of its own")


def _loops(settings: StepSettings) -> Iterator[Problem]:
    for name, topic, server in _outputs(settings):
        entry = reads_topic(topic, settings.consumer_topics, settings.topic_strategy_format)
        if entry is not None and hosts(server) & hosts(settings.consumer_server):
            read_by = "consumer_topics" if entry in settings.consumer_topics else "topic_strategy_format"
            yield Problem(
                (name, read_by),
                _place(settings, read_by),
                f"{entry!r} takes in {topic!r}, the topic of {name.upper()}: the step would read what it writes, "
                "without end",
                "choose other topics",
            )


def _exactly_once(settings: StepSettings) -> Iterator[Problem]:
    if settings.delivery != "exactly-once":
        return
    place = _place(settings, "delivery")
    read, written = hosts(settings.consumer_server), hosts(settings.producer_server)
    if read and written and read != written:
        yield Problem(
            ("delivery", "consumer_server", "producer_server"),
            place,
            "exactly-once needs one Kafka cluster to read from and write to, and CONSUMER_SERVER and PRODUCER_SERVER "
            "name different brokers",
            "give both the same brokers, or take DELIVERY=at-least-once",
        )
    if str(settings.consumer_conf.get("isolation.level")).lower() == "read_uncommitted":
        yield Problem(
            ("delivery", "consumer_conf"),
            _place(settings, "consumer_conf"),
            "isolation.level=read_uncommitted reads what was never committed, and DELIVERY is exactly-once",
            "remove isolation.level",
        )
