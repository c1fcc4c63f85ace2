from __future__ import annotations

import json
import logging
import threading
import time
import urllib.error
import urllib.request

import pytest

from tests.services.process import free_ports
from tests.services.topics import create_topic, read_all
from tests.step.monitoring.reports import make_report, scrape, value_of
from xmatch_hats.errors import AccountError, SystemFailure
from xmatch_hats.matching.resident.cache import CacheCounts
from xmatch_hats.step.monitoring import monitor as module
from xmatch_hats.step.monitoring.health import Health
from xmatch_hats.step.monitoring.metrics_topic import MetricsTopic
from xmatch_hats.step.monitoring.monitor import Monitor

PATIENCE = 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def monitor(clock):
    monitor = Monitor(["allwise", "gaia"], PATIENCE)
    monitor.health = Health(loop_seconds=30, worker_seconds=600, clock=clock)
    return monitor


@pytest.fixture
def eager(monkeypatch):
    """It looks around with every turn of the loop."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)


def value(monitor: Monitor, name: str, **labels: str) -> float:
    return value_of(scrape(monitor.metrics.registry), f"xmatch_hats_{name}", **labels)


def waiting(monitor: Monitor) -> dict[str, str]:
    return monitor.health.ready()[1]["waiting_for"]


def test_a_step_is_ready_until_something_has_failed_too_often(monitor):
    monitor.health.set("joined", True)
    for failures in range(1, PATIENCE + 1):
        monitor.on_wait("database", "no route to host", failures)
        assert waiting(monitor) == {}
    assert value(monitor, "waiting", component="database") == 1
    monitor.on_wait("database", "no route to host", PATIENCE + 1)
    assert waiting(monitor) == {"database": "no route to host"}
    assert value(monitor, "failed_tries_total", component="database") == PATIENCE + 1
    monitor.on_wait("database", "", 0)
    assert waiting(monitor) == {}
    assert value(monitor, "waiting", component="database") == 0


def test_a_connection_that_is_lost_is_told_at_once(monitor):
    noting = monitor.on_connection("source")
    noting(False, "1/1 brokers are down")
    noting(False, "1/1 brokers are down")
    assert waiting(monitor) == {"source": "1/1 brokers are down"}
    assert value(monitor, "failed_tries_total", component="source") == 1
    noting(True, "")
    assert waiting(monitor) == {}
    assert value(monitor, "waiting", component="source") == 0


def test_a_worker_that_hangs_is_not_alive(monitor, clock):
    watch = monitor.watcher(lambda *_: None)
    watch("consumed", 1)
    clock.now = 601
    monitor.on_beat()
    assert not monitor.health.live()[0]


@pytest.mark.parametrize("waits", ["for a broker", "for a component"])
def test_a_worker_that_waits_does_not_hang(monitor, clock, waits):
    watch = monitor.watcher(lambda *_: None)
    watch("consumed", 1)
    noting = monitor.on_connection("producer")
    if waits == "for a broker":
        noting(False, "down")
    for clock.now in range(0, 7200, 20):
        monitor.on_beat()
        if waits == "for a component":
            monitor.on_wait("catalogue", "gone", 1)
    assert monitor.health.live()[0]
    noting(True, "")
    clock.now += 601
    monitor.on_beat()
    assert not monitor.health.live()[0]


def test_a_worker_without_a_batch_has_nothing_to_do(monitor, clock):
    told = []
    watch = monitor.watcher(lambda *words: told.append(words))
    for boundary in ("consumed", "matched", "produced", "flushed", "committing", "committed"):
        watch(boundary, 1)
    clock.now = 10_000
    monitor.on_beat()
    assert monitor.health.live()[0]
    assert told[-1] == ("committed", 1)
    assert len(told) == 6


def test_a_loop_that_stands_still_is_not_alive(monitor, clock):
    monitor.on_beat()
    clock.now = 31
    assert not monitor.health.live()[0]
    monitor.on_beat()
    assert monitor.health.live()[0]


def test_what_is_looked_at(monitor, eager):
    monitor.lag, monitor.cache = lambda: {"ztf[0]": 5}, lambda: (10, 2)
    monitor.workers, monitor.partitions = lambda: 3, lambda: CacheCounts(hits=7)
    monitor.on_beat()
    assert value(monitor, "partition_cache_hits_total") == 7
    assert value(monitor, "lag_messages", partition="ztf[0]") == 5
    assert (value(monitor, "schema_cache_hits_total"), value(monitor, "schema_cache_misses_total")) == (10, 2)
    assert value(monitor, "dask_workers") == 3
    assert waiting(monitor) == {}
    monitor.workers = lambda: 0
    monitor.on_beat()
    assert waiting(monitor) == {"dask": "it has no workers"}


def test_threads_are_no_cluster(monitor, eager):
    monitor.health.set("joined", True)
    monitor.on_beat()
    assert "dask" not in monitor.health.ready()[1]["ok"]


def test_a_batch_is_told_to_everybody(monitor, caplog):
    caplog.set_level(logging.INFO, "xmatch_hats")
    sent = []
    monitor.topic = type("Topic", (), {"send": staticmethod(sent.append)})()
    monitor.lag = lambda: {"ztf[0]": 7}
    monitor.on_batch(make_report())
    monitor.on_batch(make_report(2))
    assert (monitor.total.received, monitor.total.out, monitor.total.dead, monitor.total.skipped) == (20, 14, 4, 2)
    assert value(monitor, "batches_total") == 2
    assert value(monitor, "lag_messages", partition="ztf[0]") == 7
    assert [report.number for report in sent] == [1, 2]
    assert sent[0].lag == {"ztf[0]": 7}
    records = [record for record in caplog.records if record.getMessage() == "batch done"]
    assert [(record.batch, record.lag) for record in records] == [(1, {"ztf[0]": 7}), (2, {"ztf[0]": 7})]


def test_members_without_partitions_have_joined(monitor):
    monitor.health.expect("joined")
    assert waiting(monitor) == {"joined": "not yet"}
    monitor.on_joined()
    monitor.on_assigned(set())
    assert waiting(monitor) == {}
    monitor.on_thrown_out()
    assert "without this member" in waiting(monitor)["joined"]
    assert value(monitor, "assigned_partitions") == 0
    monitor.on_assigned({"ztf[0]", "ztf[1]"})
    assert value(monitor, "assigned_partitions") == 2


def test_what_is_counted_beside_batches(monitor):
    monitor.on_gap("ztf[0]", 17)
    monitor.on_failure(AccountError("2 came in"))
    monitor.on_failure(ValueError())
    assert value(monitor, "offsets_lost_total", partition="ztf[0]") == 17
    assert value(monitor, "account_errors_total") == 1


def test_reasons_are_served_without_secrets(monitor):
    monitor.health.set("database", False, "no password pass-word")
    server = monitor.serve("", 0, ["pass-word"])
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ready", timeout=10)
        assert caught.value.code == 503
        assert json.loads(caught.value.read())["waiting_for"] == {"database": "no password ***"}
    finally:
        server.close()


def test_metrics_messages_are_sent_when_there_is_time(kafka_address, topic_name):
    topic = create_topic(kafka_address, topic_name("metrics"))
    dropped = []
    metrics = MetricsTopic({"bootstrap.servers": kafka_address}, topic, lambda: dropped.append(1))
    for number in range(3):
        metrics.send(make_report(number))
    metrics.close(30)
    told = [json.loads(message.value) for message in read_all(kafka_address, topic)]
    assert [message["candid"] for message in told] == [["1", "2", "3", "4", "5", "6", "7"]] * 3
    assert dropped == []


def test_metrics_messages_that_cannot_be_sent_are_counted(caplog):
    conf = {
        "bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}",
        "queue.buffering.max.messages": 2,
        "message.max.bytes": 1500,
        "log_level": 0,
    }
    dropped = []
    metrics = MetricsTopic(conf, "metrics", lambda: dropped.append(1))
    metrics.send(make_report(candids=("1" * 2000,)))
    assert len(dropped) == 1
    for _ in range(3):
        metrics.send(make_report())
    assert len(dropped) == 2
    assert "a metrics message was not sent" in caplog.text
    metrics.close(0.1)
    assert len(dropped) == 4


def test_a_cluster_that_is_lost_is_looked_for_without_a_batch(monitor, eager):
    """By one at a time, and whatever comes of it."""
    tries, may_go_on = [], threading.Event()

    def connect() -> None:
        tries.append(threading.current_thread().name)
        may_go_on.wait(30)
        raise SystemFailure("cannot connect")

    monitor.workers, monitor.connect = (lambda: 0), connect
    for _ in range(5):
        monitor.on_beat()
    assert tries == ["revive"]
    assert waiting(monitor) == {"dask": "it has no workers"}
    may_go_on.set()
    deadline = time.monotonic() + 30
    while len(tries) < 2:
        assert time.monotonic() < deadline
        monitor.on_beat()
    monitor.workers = lambda: 2
    monitor.on_beat()
    assert waiting(monitor) == {}
