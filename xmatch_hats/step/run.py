"""Putting a step together from its settings, and running it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import TYPE_CHECKING

from xmatch_hats.alerts.framing import MessageReader
from xmatch_hats.alerts.limits import FILE_LIMITS, MESSAGE_LIMITS, Limits
from xmatch_hats.alerts.outputs import make_output
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.plan import FieldPaths
from xmatch_hats.alerts.registry_client import open_schemas
from xmatch_hats.alerts.sources import PacketSources
from xmatch_hats.errors import ConfigError, XmatchError
from xmatch_hats.matching.following import FollowingMatcher
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.tls import TlsFiles
from xmatch_hats.step.database import open_store
from xmatch_hats.step.decoding import Decoder
from xmatch_hats.step.enrichment import Enrichment, stream_targets
from xmatch_hats.step.files import AlertsReport, FileEnds, FileLoop, match_files
from xmatch_hats.step.flight import ErrorPolicy, Watcher, nobody
from xmatch_hats.step.garbage import rare_collections
from xmatch_hats.step.kafka.clients import check_clients
from xmatch_hats.step.kafka.conf import client_conf, consumer_conf, producer_conf
from xmatch_hats.step.kafka.connection import Connection
from xmatch_hats.step.kafka.sink import KafkaSink
from xmatch_hats.step.kafka.source import KafkaSource, SourceEvents
from xmatch_hats.step.kafka.topics import OutputTopics
from xmatch_hats.step.kafka.transactions import TransactionalSink
from xmatch_hats.step.loop import BatchLimits, Loop
from xmatch_hats.step.monitoring.metrics_topic import MetricsTopic
from xmatch_hats.step.monitoring.monitor import Monitor
from xmatch_hats.step.pipeline import Pipeline
from xmatch_hats.step.reading import Reading, stream_reading
from xmatch_hats.step.report import Account
from xmatch_hats.step.tables import FACT_PATHS, StoreTables
from xmatch_hats.step.waiting import AbandonedError, Stop, Waiter
from xmatch_hats.step.worker import ThreadWorker

if TYPE_CHECKING:
    from xmatch_hats.step.settings import StepSettings

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.0
_LOOK_SECONDS = 0.1


def run_stream(
    settings: StepSettings, stop: Stop, *, reading: Reading | None = None, watch: Watcher = nobody
) -> Account:
    """Run the step from Kafka to Kafka, until it is told to stop or has read all that there is to read.

    Parameters
    ----------
    settings : StepSettings
    stop : Stop
    reading : Reading, optional
        What to read; by default what the settings say.
    watch : callable, optional
        Told of the boundaries that batches cross.

    Returns
    -------
    Account
        All messages of the run.

    Raises
    ------
    XmatchError
        What the step cannot wait for: a wrong setting, a catalogue that is not there, counts that do not add up.
    """
    reading = reading or stream_reading(settings)
    check_clients(settings, reading)
    monitor = _make_monitor(settings, "producer", "joined")
    try:
        with ExitStack() as stack:
            _run_stream(settings, stop, reading, monitor, stack, watch)
    except AbandonedError as error:
        if not stop.requested.is_set():
            raise
        logger.warning("told to stop: %s", error)
    finally:
        # A thread that still waits for something waits for nobody.
        stop.abandoned.set()
    return monitor.total


def _run_stream(
    settings: StepSettings, stop: Stop, reading: Reading, monitor: Monitor, stack: ExitStack, watch: Watcher
) -> None:
    _open_watchers(settings, monitor, stack)
    waiter = Waiter(stop, settings.retry_interval, on_wait=monitor.on_wait)
    parts = _Parts(settings, monitor, waiter, stop, stack)
    enrichment = parts.enrichment()
    tables = parts.tables()
    # What a run before this one left open is ended here, before its offsets are asked for.
    sink = parts.sink(reading)
    source = parts.source(reading, sink)
    watch = monitor.watcher(watch)
    pipeline = Pipeline(enrichment, sink, waiter, tables=tables, watch=watch)
    loop = Loop(
        source,
        Decoder(parts.message_reader().read, waiter),
        ThreadWorker(pipeline.process),
        stop,
        BatchLimits(settings.consume_messages, settings.consume_timeout, stop_seconds=settings.stop_timeout),
        monitor.on_batch,
        monitor.on_beat,
        watch,
    )
    started = time.monotonic()
    with _noting_failure(monitor), rare_collections():
        loop.run()
    _say_goodbye(monitor.total, enrichment, time.monotonic() - started)


def run_files(settings: StepSettings, stop: Stop) -> AlertsReport:
    """Run the step with files at both ends.

    Parameters
    ----------
    settings : StepSettings
    stop : Stop

    Raises
    ------
    XmatchError
        Whatever goes wrong, after some tries; no output appears then.
    """
    monitor = _make_monitor(settings)
    with ExitStack() as stack:
        _open_watchers(settings, monitor, stack)
        waiter = Waiter(stop, settings.retry_interval, settings.retries, monitor.on_wait)
        parts = _Parts(settings, monitor, waiter, stop, stack)
        enrichment = parts.enrichment()
        tables = parts.tables()
        ends = FileEnds(
            PacketSources([str(settings.source)]), str(settings.sink), settings.rejects, settings.error_policy
        )
        loop = FileLoop(
            Decoder(parts.reader(FILE_LIMITS).read, waiter, ahead=False),
            stop,
            settings.consume_messages,
            monitor.on_batch,
            monitor.on_beat,
        )
        return match_files(ends, loop, enrichment, lambda sink: Pipeline(enrichment, sink, waiter, tables=tables))


class _Parts:
    """Makes the parts of a step; what has to be closed goes on a stack."""

    def __init__(self, settings: StepSettings, monitor: Monitor, waiter: Waiter, stop: Stop, stack: ExitStack) -> None:
        self._settings = settings
        self._monitor = monitor
        self._waiter = waiter
        self._stop = stop
        self._stack = stack

    def _until_done(self, what: str, call: Callable[[], None]) -> None:
        """Call something until it works, in a thread: the main one must hear of a signal meanwhile."""
        done: Future[None] = Future()

        def run() -> None:
            try:
                done.set_result(self._waiter.until_done(what, call))
            except BaseException as error:  # noqa: BLE001, raised where it can be seen
                done.set_exception(error)

        Thread(target=run, name=what, daemon=True).start()
        while not wait([done], _LOOK_SECONDS).done:
            if self._stop.requested.is_set():
                raise AbandonedError(f"given up while waiting for {what}")
        done.result()

    def enrichment(self) -> Enrichment:
        settings, health = self._settings, self._monitor.health
        scheduler = make_scheduler(settings)
        self._stack.callback(scheduler.close)
        self._monitor.workers, self._monitor.connect = scheduler.workers_alive, scheduler.connect
        targets = stream_targets(settings.catalog, with_tables=settings.engine is not None)
        # A catalogue that is not there at the start is a mistake; one that goes later is waited for.
        with _blaming(settings, "catalog"):
            matcher = FollowingMatcher(
                targets, scheduler, engine=settings.match_engine, cache_bytes=settings.worker_cache_bytes
            )
            enrichment = Enrichment(matcher, make_output(settings.output_schema), settings.catalog)
            enrichment()
        health.set("catalogue", True)
        self._monitor.partitions = matcher.cache_counts
        self._until_done("dask", lambda: matcher.current().connect())
        health.set("dask", True)
        return enrichment

    def tables(self) -> StoreTables | None:
        settings, health = self._settings, self._monitor.health
        if settings.engine is None:
            return None
        store = open_store(settings)
        self._stack.callback(store.close)

        def prepare() -> None:
            if settings.engine == "sqlite":
                store.init()
            store.check()
            store.write_step()

        self._until_done("database", prepare)
        health.set("database", True)
        return StoreTables(store)

    def reader(self, limits: Limits) -> PacketReader:
        settings = self._settings
        extra = FACT_PATHS if settings.engine else ()
        reader = PacketReader(FieldPaths(*settings.position, settings.key, settings.id, extra), limits)
        self._monitor.cache = lambda: reader.schema_cache
        return reader

    def message_reader(self) -> MessageReader:
        settings = self._settings
        url = settings.schema_registry_url
        return MessageReader(
            self.reader(MESSAGE_LIMITS), open_schemas(settings.schema_dir, url.get_secret_value() if url else None)
        )

    def sink(self, reading: Reading) -> KafkaSink | TransactionalSink:
        settings, monitor = self._settings, self._monitor
        topics = OutputTopics(str(settings.producer_topic), str(settings.dead_letter_topic))
        policy = ErrorPolicy(settings.error_policy)
        connection = Connection("producer", monitor.on_connection("producer"))
        sink: KafkaSink | TransactionalSink
        if settings.delivery == "exactly-once":
            conf = producer_conf(settings, transactional_id=reading.transactional_id)
            sink = TransactionalSink(conf, topics, policy, self._stop, connection)
        else:
            sink = KafkaSink(producer_conf(settings), topics, policy, self._stop, connection)
        self._stack.callback(sink.close, _CLOSE_SECONDS)
        self._until_done("producer", sink.open)
        monitor.health.set("producer", True)
        return sink

    def source(self, reading: Reading, sink: KafkaSink | TransactionalSink) -> KafkaSource:
        settings, monitor = self._settings, self._monitor
        source = KafkaSource(
            consumer_conf(
                settings,
                group=reading.group,
                until_end=reading.until_end or reading.span is not None,
                role=reading.role,
            ),
            reading.plan,
            self._waiter,
            span=reading.span,
            until_end=reading.until_end,
            events=SourceEvents(
                monitor.on_assigned,
                monitor.on_gap,
                monitor.metrics.rebalances,
                monitor.on_joined,
                monitor.on_thrown_out,
            ),
            connection=Connection("source", monitor.on_connection("source")),
            commits=not isinstance(sink, TransactionalSink),
        )
        self._stack.callback(source.close, _CLOSE_SECONDS)
        if isinstance(sink, TransactionalSink):
            sink.group = source.group
        monitor.lag = source.lag
        return source


def make_scheduler(settings: StepSettings) -> Scheduler:
    """Make what runs task graphs: a client of a scheduler, a cluster of the step's own, or threads."""
    with _blaming(settings, "dask_scheduler"):
        tls = TlsFiles.of(settings.dask_tls_ca_file, settings.dask_tls_cert, settings.dask_tls_key)
        return Scheduler(address=settings.dask_scheduler, workers=settings.workers, tls=tls)


@contextmanager
def _blaming(settings: StepSettings, attribute: str) -> Iterator[None]:
    """Name the setting that leads to an error."""
    try:
        yield
    except XmatchError as error:
        raise ConfigError(str(error), place=settings.origin(attribute).place) from error


def _make_monitor(settings: StepSettings, *ends: str) -> Monitor:
    """Make what watches a run, which is not ready before all that it needs is there."""
    monitor = Monitor([catalog.name for catalog in settings.catalog], settings.retries)
    for component in ("catalogue", "dask", *(["database"] if settings.engine else []), *ends):
        monitor.health.expect(component)
    return monitor


def _open_watchers(settings: StepSettings, monitor: Monitor, stack: ExitStack) -> None:
    if settings.http_port is not None:
        server = monitor.serve(settings.http_host, settings.http_port, settings.secret_texts())
        stack.callback(server.close)
    if settings.metrics_topic is not None:
        dropped = monitor.metrics.metrics_message_dropped
        monitor.topic = MetricsTopic(client_conf(settings, "metrics"), settings.metrics_topic, dropped)
        stack.callback(monitor.topic.close, _CLOSE_SECONDS)


@contextmanager
def _noting_failure(monitor: Monitor) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        monitor.on_failure(error)
        raise


def _say_goodbye(total: Account, enrichment: Enrichment, seconds: float) -> None:
    logger.info(
        "done: %d in, %d out, %d dead letters, %d skipped in %.1f s",
        total.received, total.out, total.dead, total.skipped, seconds,
    )  # fmt: skip
    for name, count in enrichment.nulled.items():
        logger.info("%s: %d values beyond a 32-bit float became null", name, count)
    for path, count in sorted(enrichment.output.dropped.items()):
        logger.info("the output schema cannot hold %s, which %d alerts had", path, count)
