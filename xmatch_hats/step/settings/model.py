"""The settings of the step: their names, types, defaults and meanings."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from xmatch_hats.step.settings import kafka, rules, values
from xmatch_hats.step.settings.catalogs import DEFAULT_CATALOGS, CatalogSettings, catalogs
from xmatch_hats.step.settings.kafka import KafkaOptions
from xmatch_hats.step.settings.problem import Origin, raise_problems
from xmatch_hats.step.settings.values import parsed

Text = Annotated[str | None, parsed(values.text)]
Secret = Annotated[SecretStr | None, parsed(values.secret)]
Topic = Annotated[str | None, parsed(kafka.topic)]
Servers = Annotated[str | None, parsed(kafka.servers)]
Options = Annotated[KafkaOptions, parsed(kafka.kafka_options)]
PathTo = Annotated[Path | None, parsed(values.path)]
FileAt = Annotated[Path | None, parsed(values.file)]
Moment = Annotated[datetime | None, parsed(values.instant)]
Seconds = Annotated[float, parsed(values.positive("seconds"))]
Flag = Annotated[bool, parsed(values.flag)]
FieldPaths = Annotated[tuple[str, ...], parsed(values.field_paths())]

Engine = Annotated[
    Literal["sqlite", "postgresql"] | None,
    parsed(values.choice("sqlite", "postgresql", also={"postgres": "postgresql"})),
]


class StepSettings(BaseSettings):
    """All settings of a step; an attribute is the environment variable in lower case.

    `xmatch_hats.step.settings.load_settings` makes them from the environment, a file and the command line, and turns
    every fault into a `ConfigError`. Made directly, only the arguments count.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False, arbitrary_types_allowed=True
    )
    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    engine: Engine = Field(default=None, description="Database engine, postgresql or sqlite; unset: no database.")
    db_host: Text = Field(default=None, description="Host of the database.")
    db_user: Text = Field(default=None, description="User of the database.")
    db_password: Secret = Field(default=None, description="Password of the database's user.")
    db_port: Annotated[int, parsed(values.whole(1, 65535))] = Field(default=5432, description="Port of the database.")
    db_name: Text = Field(default=None, description="Name of the database; for sqlite the path of its file.")

    consumer_topics: Annotated[tuple[str, ...], parsed(kafka.topics)] = Field(
        default=(),
        description="Topics to read, separated by commas; an entry that begins with ^ is a regular expression.",
    )
    topic_strategy_format: Annotated[tuple[str, ...], parsed(kafka.topic_formats)] = Field(
        default=(),
        description="Daily topics to read instead: %s stands for the date as YYYYMMDD, or letters of strftime do; "
        "several are separated by commas.",
    )
    topic_strategy_change_hour: Annotated[int, parsed(values.whole(0, 23))] = Field(
        default=23, description="Hour, UTC, from which the next day's topic is read too."
    )
    topic_strategy_days: Annotated[int, parsed(values.whole(1))] = Field(
        default=8, description="How many daily topics are read, the newest and those before it."
    )
    consumer_server: Servers = Field(default=None, description="Kafka brokers to read from, host:port.")
    consumer_group_id: Text = Field(default=None, description="Consumer group; its members share the partitions.")
    consumer_kafka_username: Text = Field(default=None, description="SASL user for reading.")
    consumer_kafka_password: Secret = Field(default=None, description="SASL password for reading.")
    consumer_conf: Options = Field(
        default=KafkaOptions(), description="Further librdkafka options of the consumer, a JSON object."
    )
    enable_partition_eof: Flag = Field(
        default=False, description="Whether the step ends when every partition has been read to its end."
    )
    consume_messages: Annotated[int, parsed(values.whole(1))] = Field(default=1000, description="Messages in a batch.")
    consume_timeout: Seconds = Field(default=10.0, description="Seconds after which a batch is taken as it is.")
    replay_from: Moment = Field(
        default=None,
        description="Time of the first message to read: ISO 8601, UTC unless it says otherwise, or milliseconds "
        "since 1970.",
    )
    replay_until: Moment = Field(default=None, description="Time, written likewise, before which messages are read.")

    producer_topic: Topic = Field(default=None, description="Topic to write to.")
    producer_server: Servers = Field(default=None, description="Kafka brokers to write to, host:port.")
    producer_kafka_username: Text = Field(default=None, description="SASL user for writing.")
    producer_kafka_password: Secret = Field(default=None, description="SASL password for writing.")
    producer_conf: Options = Field(
        default=KafkaOptions(), description="Further librdkafka options of the producer, a JSON object."
    )
    output_schema: Annotated[Literal["input", "ztf-3.3"], parsed(values.choice("input", "ztf-3.3"))] = Field(
        default="input", description="Schema of the output: input (the packet's own plus xmatches) or ztf-3.3."
    )
    delivery: Annotated[
        Literal["at-least-once", "exactly-once"], parsed(values.choice("at-least-once", "exactly-once"))
    ] = Field(default="at-least-once", description="Promise of delivery: at-least-once or exactly-once.")
    transactional_id: Text = Field(
        default=None, description="Name of the producer for exactly-once, its own for each member of a group."
    )
    error_policy: Annotated[Literal["dlq", "skip", "fail"], parsed(values.choice("dlq", "skip", "fail"))] = Field(
        default="dlq", description="What becomes of packets that cannot be used: dlq (dead letters), skip or fail."
    )
    dlq_topic: Topic = Field(default=None, description="Topic of the dead letters, on PRODUCER_SERVER.")

    metrics_host: Servers = Field(default=None, description="Kafka brokers for metrics, host:port.")
    metrics_topic: Topic = Field(default=None, description="Topic of the metrics, one message a batch.")
    metrics_kafka_username: Text = Field(default=None, description="SASL user for metrics.")
    metrics_kafka_password: Secret = Field(default=None, description="SASL password for metrics.")
    metrics_conf: Options = Field(
        default=KafkaOptions(), description="Further librdkafka options of the metrics' producer, a JSON object."
    )

    catalog: Annotated[tuple[CatalogSettings, ...], parsed(catalogs)] = Field(
        default=DEFAULT_CATALOGS,
        description="Catalogues to match with, a JSON array of objects with name and, if wanted, columns, path and "
        "radius (arcsec).",
    )
    schema_registry_url: Annotated[SecretStr | None, parsed(values.secret_url)] = Field(
        default=None, description="Schema registry of packets in Confluent's framing, https://user:password@host."
    )
    schema_dir: Annotated[Path | None, parsed(values.folder)] = Field(
        default=None, description="Folder of schemas of packets that name theirs by a number."
    )
    position: Annotated[tuple[str, str], parsed(values.field_paths(2))] = Field(
        default=("candidate.ra", "candidate.dec"),
        description="Fields of right ascension and declination in a packet, dotted paths.",
    )
    key: FieldPaths = Field(
        default=("objectId",), description="Fields that the output's key is taken from; the first that a packet has."
    )
    id: FieldPaths = Field(
        default=("candid", "candidate.candid"),
        description="Fields of the alert's number; the first that a packet has.",
    )

    source: PathTo = Field(default=None, description="Folder or archive of packets to read instead of Kafka.")
    sink: PathTo = Field(default=None, description="Folder or archive to write instead of Kafka.")
    rejects: PathTo = Field(default=None, description="Folder for packets that cannot be used, with SOURCE and SINK.")

    dask_scheduler: Text = Field(default=None, description="Address of a Dask scheduler to work on.")
    dask_tls_ca_file: FileAt = Field(default=None, description="Certificate authority of Dask's TLS, a PEM file.")
    dask_tls_cert: FileAt = Field(default=None, description="Certificate of this client of Dask, a PEM file.")
    dask_tls_key: FileAt = Field(default=None, description="Key of that certificate, a PEM file.")
    workers: Annotated[int | None, parsed(values.whole(0))] = Field(
        default=None,
        description="Worker processes of a Dask cluster of the step's own, 0 for threads of this process; "
        "unset: one per core.",
    )
    worker_cache_bytes: Annotated[int | None, parsed(values.size_in_bytes)] = Field(
        default=None,
        description="Bytes of partitions that each worker may keep open, such as 2GiB; keep it below half of the "
        "worker's memory, which mapped files count to; unset: a quarter of that, at most 1GiB.",
    )
    match_engine: Annotated[Literal["resident", "lsdb"], parsed(values.choice("resident", "lsdb"))] = Field(
        default="resident",
        description="What matches: resident, by workers that keep partitions open, or lsdb, the plain and slow way.",
    )

    retries: Annotated[int, parsed(values.whole(0))] = Field(
        default=3, description="Failed tries after which the step reports itself not ready; it goes on trying."
    )
    retry_interval: Seconds = Field(
        default=1.0, description="Seconds before the second try; they double with each try, up to 10."
    )
    stop_timeout: Seconds = Field(default=8.0, description="Seconds to finish a batch in when the step is told to end.")
    http_port: Annotated[int | None, parsed(values.whole(0, 65535))] = Field(
        default=None, description="Port of /metrics, /live and /ready, 0 for any free one; unset: none."
    )
    http_host: Annotated[str, parsed(values.text)] = Field(
        default="127.0.0.1", description="Address that this port listens on; 0.0.0.0 for all."
    )
    step_version: Annotated[str, parsed(values.text)] = Field(
        default="dev", description="Version of the step, as the database's table of steps has it."
    )
    log_format: Annotated[Literal["json", "text"] | None, parsed(values.choice("json", "text"))] = Field(
        default=None, description="Form of the log, json or text; unset: text on a terminal, else json."
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        parsed(values.choice("debug", "info", "warning", "error")),
    ] = Field(default="info", description="Least level that is logged: debug, info, warning or error.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the arguments alone: `load_settings` layers the sources, and knows of every value where it came from."""
        return (init_settings,)

    def __eq__(self, other: object) -> bool:
        # Equal settings mean the same, wherever they came from.
        return isinstance(other, StepSettings) and dict(self) == dict(other)

    @property
    def dead_letter_topic(self) -> str | None:
        """Topic of the dead letters; None without Kafka."""
        return self.dlq_topic or (f"{self.producer_topic}_dlq" if self.producer_topic else None)

    @property
    def transaction_id(self) -> str | None:
        """Name of the transactional producer: TRANSACTIONAL_ID, else one made of the group and this host."""
        group = self.consumer_group_id
        return self.transactional_id or (f"{group}-{socket.gethostname()}" if group else None)

    @property
    def uses_files(self) -> bool:
        """Whether packets come from files and go to files."""
        return self.source is not None and self.sink is not None

    def with_origins(self, origins: Mapping[str, Origin]) -> Self:
        """Remember of settings, by attribute, where they were found."""
        self._origins = dict(origins)
        return self

    def origin(self, attribute: str) -> Origin:
        """Tell where a setting was found: its source is ``default`` if it was not given."""
        source = "given" if attribute in self.model_fields_set else "default"
        return self._origins.get(attribute, Origin(attribute.upper(), source))

    def secret_texts(self) -> tuple[str, ...]:
        """Give all secrets in the clear, for whoever must keep them out of logs."""
        fields = [value for _, value in self if isinstance(value, SecretStr) and value is not self.schema_registry_url]
        texts = [value.get_secret_value() for value in fields]
        if self.schema_registry_url is not None:
            texts += values.userinfo(self.schema_registry_url.get_secret_value())
        for options in (self.consumer_conf, self.producer_conf, self.metrics_conf):
            texts += options.secrets()
        return tuple(dict.fromkeys(texts))

    def require_complete(self) -> None:
        """Check that there is everything to run the loop with: two ends, of Kafka or of files, that fit each other.

        Raises
        ------
        ConfigError
            Something is missing, or contradicts something else; all faults are told.
        """
        raise_problems(rules.problems_of_ends(self))
