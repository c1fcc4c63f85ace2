"""Trying all that a run would use, without using it: what ``run --check`` tells."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, ResourceType

from xmatch_hats.alerts.outputs import make_output
from xmatch_hats.alerts.registry_client import open_schemas
from xmatch_hats.alerts.sources import PacketSources
from xmatch_hats.catalogs.side_copy import SideCopy
from xmatch_hats.errors import BrokerError, ConfigError, PacketError, XmatchError
from xmatch_hats.matching.crossmatcher import Crossmatcher
from xmatch_hats.matching.targets import Target
from xmatch_hats.step.database import open_store
from xmatch_hats.step.enrichment import make_enricher, stream_targets, wire_columns
from xmatch_hats.step.files import FileEnds
from xmatch_hats.step.kafka.clients import check_consumer, check_metrics, check_producer
from xmatch_hats.step.kafka.conf import Role, client_conf
from xmatch_hats.step.reading import stream_reading
from xmatch_hats.step.run import make_scheduler
from xmatch_hats.step.settings import describe
from xmatch_hats.store.tables import ALL_TABLES

if TYPE_CHECKING:
    from xmatch_hats.step.settings import StepSettings

_TIMEOUT = 10.0
_SLICE = 0.5
_NOBODYS_SCHEMA = 2**31 - 1
"""The largest number that a registry could give a schema."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried."""

    what: str
    settings: tuple[str, ...]
    """Names of the settings that it depends on."""
    ok: bool
    detail: str


@dataclass(frozen=True)
class Trial:
    """One thing to try, which changes nothing."""

    what: str
    settings: tuple[str, ...]
    """Names of the settings that it depends on."""
    call: Callable[[], str]
    """Tells what there is, or raises what is wrong."""

    def run(self) -> Finding:
        """Try it."""
        try:
            return Finding(self.what, self.settings, True, self.call())
        except (XmatchError, OSError) as error:
            return Finding(self.what, self.settings, False, str(error))


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    settings: list[tuple[str, str, str]]
    """Name, value with secrets masked, and where it came from."""
    items: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether a run would start."""
        return all(item.ok for item in self.items)

    def to_json(self) -> dict[str, Any]:
        """Give all of it."""
        return {
            "ok": self.ok,
            "settings": [dict(zip(("name", "value", "source"), setting, strict=True)) for setting in self.settings],
            "checks": [
                {"what": item.what, "settings": list(item.settings), "ok": item.ok, "detail": item.detail}
                for item in self.items
            ],
        }


def check_step(settings: StepSettings) -> CheckReport:
    """Try the settings: catalogues, brokers, topics, database, Dask and schemas are asked, and nothing is changed.

    Parameters
    ----------
    settings : StepSettings

    Returns
    -------
    CheckReport
        Every fault is an item of it; none is raised.
    """
    trials = [
        Trial("settings", (), lambda: _complete(settings)),
        catalogs_trial(settings),
        _schemas_trial(settings),
        Trial("engine", ("MATCH_ENGINE", "WORKER_CACHE_BYTES"), lambda: _engine(settings)),
        _dask_trial(settings),
        _database_trial(settings),
        *_kafka_trials(settings),
    ]
    return CheckReport(describe(settings), [trial.run() for trial in trials])


def service_trials(settings: StepSettings) -> list[Trial]:
    """What can be tried of the services that the settings name, and of no others.

    Parameters
    ----------
    settings : StepSettings
        They need not be complete.

    Returns
    -------
    list of Trial
        Each is bounded by timeouts of some ten seconds for each thing that it asks.
    """
    is_named = {
        _schemas_trial: settings.schema_registry_url is not None or settings.schema_dir is not None,
        _dask_trial: settings.dask_scheduler is not None,
        _database_trial: settings.engine is not None,
    }
    return [*(make(settings) for make, named in is_named.items() if named), *_kafka_trials(settings)]


def catalogs_trial(settings: StepSettings) -> Trial:
    """Opening the catalogues of the settings, with their columns."""
    return Trial("catalogues", ("CATALOG",), lambda: _catalogs(settings))


def _schemas_trial(settings: StepSettings) -> Trial:
    return Trial("schemas", ("SCHEMA_DIR", "SCHEMA_REGISTRY_URL"), lambda: _schemas(settings))


def _dask_trial(settings: StepSettings) -> Trial:
    return Trial("dask", ("DASK_SCHEDULER", "WORKERS"), lambda: _dask(settings))


def _database_trial(settings: StepSettings) -> Trial:
    return Trial("database", _database_settings(settings), lambda: _database(settings))


def _complete(settings: StepSettings) -> str:
    settings.require_complete()
    if settings.uses_files:
        FileEnds(PacketSources([str(settings.source)]), str(settings.sink), settings.rejects).places()
        return f"reads {settings.source}, writes {settings.sink}"
    reading = stream_reading(settings)
    return (
        f"reads {', '.join(reading.plan.names())} as group {reading.group}, writes {settings.producer_topic} "
        f"{settings.delivery.replace('-', ' ')}, schema {settings.output_schema}; what cannot be used: "
        + (f"dead letters in {settings.dead_letter_topic}" if settings.error_policy == "dlq" else settings.error_policy)
    )


def _catalogs(settings: StepSettings) -> str:
    # No cluster is started before the first batch.
    with Crossmatcher(stream_targets(settings.catalog, with_tables=settings.engine is not None), workers=0) as matcher:
        make_enricher(matcher, make_output(settings.output_schema), settings.catalog)
        asked = [catalog.columns for catalog in settings.catalog]
        return "; ".join(_describe_target(*pair) for pair in zip(matcher.targets, asked, strict=True))


def _describe_target(target: Target, asked: tuple[str, ...] | None) -> str:
    copy = target.copy
    coverage = "unknown"
    if copy.manifest is not None:
        coverage = f"{100 * copy.coverage.sky_fraction:.4g} % of the sky"
    return (
        f"{target.name} at {copy.path}: {copy.total_rows:,} rows, version {copy.version[:12]}, margin "
        f"{copy.margin_arcsec:g} arcsec, radius {target.rule.radius_arcsec:g} arcsec, "
        f"{len(wire_columns(copy, asked))} columns, coverage {coverage}, {_describe_side_copy(target)}"
    )


def _describe_side_copy(target: Target) -> str:
    side = SideCopy.find(target.copy)
    if side is None:
        return "no side copy"
    missing = [name for name in target.schema.names if name not in side.columns]
    return f"a side copy, of no use here without {', '.join(missing)}" if missing else "a side copy"


def _engine(settings: StepSettings) -> str:
    if settings.match_engine == "lsdb":
        return "lsdb, which keeps nothing"
    limit = settings.worker_cache_bytes
    return "resident; partitions that each worker keeps open: " + (
        "at most a quarter of its memory and 1 GiB" if limit is None else f"at most {limit:,} bytes"
    )


def _schemas(settings: StepSettings) -> str:
    url = settings.schema_registry_url
    schemas = open_schemas(settings.schema_dir, url.get_secret_value() if url else None)
    with suppress(PacketError):
        # Who says that there is no such schema can be asked.
        schemas.schema(_NOBODYS_SCHEMA)
    places = [str(settings.schema_dir)] if settings.schema_dir else []
    return ", ".join([*places, *(["the registry answers"] if url else [])]) or "packets bring their own"


def _dask(settings: StepSettings) -> str:
    scheduler = make_scheduler(settings)
    try:
        if settings.dask_scheduler is None:
            return scheduler.place
        scheduler.connect()
        return f"{scheduler.place} has {scheduler.workers_alive()} workers"
    finally:
        scheduler.close()


def _database_settings(settings: StepSettings) -> tuple[str, ...]:
    if settings.engine == "postgresql":
        return ("ENGINE", "DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")
    return ("ENGINE", "DB_NAME")


def _database(settings: StepSettings) -> str:
    if settings.engine is None:
        return "none"
    if settings.engine == "sqlite" and (missing := _missing_in_file(Path(str(settings.db_name)))):
        return f"{settings.db_name}: a run makes {missing}"
    store = open_store(settings)
    try:
        store.check()
        return f"{store.place}: all tables are there"
    finally:
        store.close()


def _missing_in_file(path: Path) -> str:
    """What a run would make of a SQLite database; empty where there is nothing to make."""
    if not path.exists():
        if not path.parent.is_dir():
            raise ConfigError("there is no such folder", place=f"DB_NAME {path.parent}", hint="make it first")
        return "the file and its tables"
    try:
        # Without this form of the name, looking at a file could change it.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise ConfigError(f"is no database that can be read: {error}", place=f"DB_NAME {path}") from error
    missing = [table.name for table in ALL_TABLES if table.name not in found]
    return f"the table {', '.join(missing)}" if missing else ""


def _kafka_trials(settings: StepSettings) -> list[Trial]:
    if settings.uses_files:
        return []
    items = []
    if settings.consumer_server:
        asked = "TOPIC_STRATEGY_FORMAT" if settings.topic_strategy_format else "CONSUMER_TOPICS"
        items.append(Trial("source", ("CONSUMER_SERVER", asked), lambda: _source(settings)))
    if settings.producer_server and settings.producer_topic:
        topics = {"PRODUCER_TOPIC": settings.producer_topic}
        if settings.error_policy == "dlq":
            topics["DLQ_TOPIC"] = str(settings.dead_letter_topic)
        items.append(Trial("output", ("PRODUCER_SERVER", *topics), lambda: _output(settings, "producer", topics)))
    if settings.metrics_topic:
        metrics = {"METRICS_TOPIC": settings.metrics_topic}
        items.append(Trial("metrics", ("METRICS_HOST", *metrics), lambda: _output(settings, "metrics", metrics)))
    return items


def _source(settings: StepSettings) -> str:
    reading = stream_reading(settings)
    plan = reading.plan
    check_consumer(settings, reading)
    _, found = _ask(settings, "consumer")
    if missing := [name for name in plan.topics if not name.startswith("^") and name not in found.topics]:
        raise ConfigError(f"there is no topic {', '.join(missing)}", place="CONSUMER_TOPICS", hint="make it first")
    read = {name: len(topic.partitions) for name, topic in found.topics.items() if plan.reads(name)}
    if not read:
        return f"{settings.consumer_server} answers; none of the topics is there yet"
    return ", ".join(f"{name} ({partitions} partitions)" for name, partitions in sorted(read.items()))


def _output(settings: StepSettings, role: Role, topics: dict[str, str]) -> str:
    """Look for the topics that are written to, by their settings."""
    if role == "metrics":
        check_metrics(settings)
    else:
        check_producer(settings, stream_reading(settings))
    admin, found = _ask(settings, role)
    broker = str(next(iter(found.brokers)))
    makes = _config(admin, ResourceType.BROKER, broker, "auto.create.topics.enable") == "true"
    told = []
    for setting, name in topics.items():
        if name in found.topics:
            largest = _config(admin, ResourceType.TOPIC, name, "max.message.bytes")
            size = f", messages of at most {int(largest):,} bytes" if largest else ""
            told.append(f"{name} ({len(found.topics[name].partitions)} partitions{size})")
        elif makes:
            told.append(f"{name} is not there yet; the broker will make it")
        else:
            hint = "make it first: the broker does not make topics"
            raise ConfigError(f"there is no topic {name}", place=setting, hint=hint)
    return ", ".join(told)


def _ask(settings: StepSettings, role: Role) -> tuple[AdminClient, ClusterMetadata]:
    """Ask brokers for all of their topics: they may make one that is asked for by name."""
    place = {"consumer": "CONSUMER_SERVER", "producer": "PRODUCER_SERVER", "metrics": "METRICS_HOST"}[role]
    said: list[KafkaError] = []
    conf = client_conf(settings, role) | {"error_cb": said.append}
    admin = AdminClient(conf)
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            return admin, admin.list_topics(timeout=_SLICE)
        except KafkaException as error:
            admin.poll(0)
            is_down = any(heard.code() == KafkaError._ALL_BROKERS_DOWN for heard in said)
            if not is_down and time.monotonic() < deadline:
                continue
            # What was said first tells why; that all brokers are down follows from it.
            reason = said[0].str() if said else error.args[0].str()
            raise BrokerError(f"does not answer: {reason}", place=f"{place} {conf['bootstrap.servers']}") from error


def _config(admin: AdminClient, kind: ResourceType, name: str, key: str) -> str | None:
    """One setting of a broker or a topic; None where it may not be seen."""
    (answer,) = admin.describe_configs([ConfigResource(kind, name)]).values()
    try:
        entries = answer.result(timeout=_TIMEOUT)
    except (KafkaException, TimeoutError):
        return None
    return entries[key].value if key in entries else None
