"""A real Apache Kafka broker on loopback, of one node. ``python -m tests.services.kafka`` runs one for people."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from filelock import FileLock

from tests.services.jars import kafka_jars
from tests.services.process import MissingComponentError, ServerProcess, ServiceError, free_ports, run_in_foreground

HOST = "127.0.0.1"
USER, PASSWORD = "alice", "alice-secret"
FORMAT_JVM = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
BROKER_JVM = ("-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""The first compiler alone: half the time to start, and no second one that competes for the cores."""

PROPERTIES: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SCRAM:SASL_PLAINTEXT,TLS:SASL_SSL",
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "ssl.keystore.type": "PEM",
    "message.max.bytes": 10485760,
    # One node keeps everything once; few partitions of its own topics make a quick start.
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "log.cleaner.dedupe.buffer.size": 4194304,
    # Waits that make sense for many nodes only.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "broker.heartbeat.interval.ms": 500,
    "broker.session.timeout.ms": 2000,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
}
LOGIN_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


class KafkaBroker:
    """A broker with three doors: plain, SCRAM-SHA-512, and SCRAM-SHA-512 over TLS.

    Its ports and its data stay the same from the first start to `close`.

    Parameters
    ----------
    auto_create_topics : bool
        Whether a topic comes into being when somebody asks for it.
    properties : Mapping, optional
        More settings of the broker, which win over those of this module.
    jvm : tuple of str, optional
        Further options of its Java, by default those of `shared_classes`.
    """

    def __init__(
        self,
        *,
        auto_create_topics: bool = True,
        properties: Mapping[str, object] | None = None,
        jvm: tuple[str, ...] | None = None,
    ) -> None:
        java = shutil.which("java")
        if java is None:
            raise MissingComponentError("Java is not installed, which Apache Kafka runs on")
        self._jars = kafka_jars()
        self._java = java
        self._jvm = shared_classes(java) if jvm is None else jvm
        self.folder = Path(tempfile.mkdtemp(prefix="xmatch-hats-kafka-"))
        self._process = ServerProcess("Apache Kafka", self.folder)
        self._ports = dict(zip(("PLAINTEXT", "SCRAM", "TLS", "CONTROLLER"), free_ports(4), strict=True))
        self._settings = {"auto.create.topics.enable": str(auto_create_topics).lower(), **(properties or {})}
        self._formatted = False
        self._paused = False

    @property
    def address(self) -> str:
        """Of the door without a lock, ``host:port``."""
        return f"{HOST}:{self._ports['PLAINTEXT']}"

    @property
    def scram(self) -> dict[str, str]:
        """What a librdkafka client needs to come in with user name and password."""
        return {
            "bootstrap.servers": f"{HOST}:{self._ports['SCRAM']}",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        }

    @property
    def scram_tls(self) -> dict[str, str]:
        """The same over TLS."""
        return {
            **self.scram,
            "bootstrap.servers": f"{HOST}:{self._ports['TLS']}",
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self._certificate),
        }

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Start, or start again, and wait until it answers."""
        if not self._formatted:
            self._format()
        flags = (*BROKER_JVM, *self._jvm)
        self._process.start(self._java_command(flags, "kafka.Kafka", str(self._properties)))
        self._process.wait_for(self._answers)

    def stop(self, kill: bool = False, timeout_s: float = 30) -> None:
        """End it by SIGTERM, or by SIGKILL; the data stay."""
        self._process.stop(signal.SIGKILL if kill else signal.SIGTERM, timeout_s)
        self._paused = False

    def restart(self, kill: bool = False) -> None:
        """Stop and start, on the same ports and data."""
        self.stop(kill)
        self.start()

    def ensure_running(self) -> None:
        """Start it if it is stopped, and let it go on if it is paused."""
        if not self.running:
            self.start()
        elif self._paused:
            self.resume()

    def pause(self) -> None:
        """Halt it as it stands: connections stay open and nobody answers."""
        self._process.send(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused one go on."""
        self._process.send(signal.SIGCONT)
        self._paused = False
        self._process.wait_for(self._answers)

    def close(self) -> None:
        """End it and remove its data."""
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> KafkaBroker:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _certificate(self) -> Path:
        return self.folder / "certificate.pem"

    def _java_command(self, flags: tuple[str, ...], *arguments: str) -> list[str]:
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [self._java, *flags, level, "-cp", f"{self._jars}/*", *arguments]

    def _format(self) -> None:
        keystore = _make_certificate(self._certificate)
        listeners = ",".join(f"{name}://{HOST}:{port}" for name, port in self._ports.items())
        properties = {
            **PROPERTIES,
            "listeners": listeners,
            "controller.quorum.bootstrap.servers": f"{HOST}:{self._ports['CONTROLLER']}",
            "ssl.keystore.location": keystore,
            "listener.name.scram.scram-sha-512.sasl.jaas.config": LOGIN_MODULE,
            "listener.name.tls.scram-sha-512.sasl.jaas.config": LOGIN_MODULE,
            "log.dir": self.folder / "data",
            **self._settings,
        }
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = ("kafka.tools.StorageTool", "format", "--standalone", "-t", f"x{cluster[1:]}", "-c")
        user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
        _run(self._java_command(FORMAT_JVM, *tool, str(self._properties), "--add-scram", user))
        self._formatted = True

    def _answers(self) -> bool:
        # A new client each time: an old one would wait out its growing pauses between attempts.
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        try:
            return bool(client.list_topics(timeout=1).brokers)
        except KafkaException:
            return False


def shared_classes(java: str) -> tuple[str, ...]:
    """Options with which a broker starts in half the time: Kafka's classes as this Java has loaded them once.

    They are kept beside the jars. A Java that they are not for goes on without them.
    """
    told = subprocess.run([java, "-version"], capture_output=True, check=False, timeout=60)
    jars = kafka_jars()
    kept = jars.with_name(f"{jars.name}-{hashlib.sha256(told.stderr).hexdigest()[:8]}.jsa")
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            part = Path(f"{kept}.part")
            with KafkaBroker(jvm=(f"-XX:ArchiveClassesAtExit={part}",)) as broker:
                broker.stop(timeout_s=120)
            if part.exists():
                part.replace(kept)
    return (f"-XX:SharedArchiveFile={kept}",) if kept.exists() else ()


def _make_certificate(certificate: Path) -> Path:
    """Make a key and a certificate signed by itself, and a key store of both."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise MissingComponentError("openssl is not installed, which makes the broker's certificate")
    key, keystore = certificate.with_name("key.pem"), certificate.with_name("keystore.pem")
    names = f"subjectAltName=DNS:localhost,IP:{HOST}"
    request = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    _run([*request, "-addext", names, "-keyout", str(key), "-out", str(certificate)])
    keystore.write_text(key.read_text() + certificate.read_text())
    return keystore


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise ServiceError(f"{Path(command[0]).name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _for_people(broker: KafkaBroker) -> str:
    tls = broker.scram_tls
    return f"""Apache Kafka answers at {broker.address}; Ctrl-C stops it and throws its data away.

For the step:
export CONSUMER_SERVER={broker.address} PRODUCER_SERVER={broker.address}
export METRICS_HOST={broker.address} METRICS_TOPIC=xmatch_metrics

For the tests, in the place of a broker of their own:
export XMATCH_HATS_TEST_KAFKA={broker.address}

With user name and password over TLS: {tls["bootstrap.servers"]}
export CONSUMER_KAFKA_USERNAME={USER} CONSUMER_KAFKA_PASSWORD={PASSWORD}
export CONSUMER_CONF='{{"ssl.ca.location": "{tls["ssl.ca.location"]}"}}'
"""


if __name__ == "__main__":
    sys.exit(run_in_foreground(KafkaBroker, _for_people))
