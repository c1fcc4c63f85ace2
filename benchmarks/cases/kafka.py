"""The streaming step from topic to topic beside the naive loop; broker, step and workers share this machine."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from unittest.mock import patch

from benchmarks.case import RADIUS_ARCSEC, Bench, CaseResult, cluster, profiled
from benchmarks.cases.packets import answer_of, xmatches_names
from benchmarks.memory import Watch
from benchmarks.packets import candid_of, copies, first_record, packet_catalog, packets_of
from benchmarks.peers.naive import NaiveStep, NaiveStream
from tests.services.kafka import KafkaBroker
from tests.services.topics import Message, create_topic, produce, read_all
from xmatch_hats.catalogs.copy import LocalCopy

BATCH = 1000
PARTITIONS = 4
ONCE, EXACTLY, NAIVE = "step, at least once", "step, exactly once", "naive"
Spans = list[tuple[int, float, float]]


def kafka(bench: Bench) -> CaseResult:
    """Time the step over packets that wait in a topic, each way into a topic of its own."""
    alerts = 20_000 if bench.full else 5_000
    natives = packets_of()
    copy = packet_catalog(natives)
    result = CaseResult(f"{alerts:,} packets, Kafka to Kafka")
    answers: dict[str, dict[int, tuple[str, float | None]]] = {}
    naive_alerts = (4 if bench.full else 2) * BATCH
    with KafkaBroker() as broker:
        server = broker.address
        topic = create_topic(server, "alerts", PARTITIONS)
        produce(server, topic, (Message(packet, name.encode()) for packet, name in copies(natives, alerts)))
        ways: dict[str, Callable[[str], Spans]] = {
            ONCE: lambda out: _run_step(server, topic, out, alerts, copy),
            EXACTLY: lambda out: _run_step(server, topic, out, alerts, copy, DELIVERY="exactly-once"),
            NAIVE: lambda out: _run_naive(server, topic, out, naive_alerts, copy),
        }
        for name, way in ways.items():
            out = create_topic(server, name.replace(" ", "-").replace(",", ""), PARTITIONS)
            with Watch() as watch:
                spans = way(out)
            result.ways[name] = _seen(spans) | {"peak_mib": round(watch.peak_mib)}
            answers[name], again = _answers_of(server, out)
            if again:
                result.differences.append(f"{name}: {again} alerts came out more than once")
            print(f"  {name}: {result.ways[name]['note']}", flush=True)
        if bench.full:
            profiled_out = create_topic(server, "profiled", PARTITIONS)
            result.profile = f"{ONCE}; the step's own thread:\n"
            result.profile += profiled(lambda: _run_step(server, topic, profiled_out, alerts, copy))
    reference = answers[ONCE]
    for name, given in answers.items():
        wrong = sum(not _is_same(reference.get(candid), found) for candid, found in given.items())
        sent = naive_alerts if name == NAIVE else alerts
        if wrong or len(given) != sent:
            result.differences.append(f"{name}: {wrong} of {len(given)} alerts differ, {sent} were sent")
    result.compared = sum(len(given) for name, given in answers.items() if name != ONCE)
    result.compared_what = "packets: all of the other ways, with the step's at least once"
    rates = {name: 1 / way["median"] for name, way in result.ways.items()}
    result.figures = {
        "rate": rates[ONCE],
        "rate_exactly_once": rates[EXACTLY],
        "ratio_naive": rates[ONCE] / rates[NAIVE],
    }
    matched = sum(bool(match) for match, _ in reference.values())
    result.facts.append(
        f"Batches of {BATCH}; {PARTITIONS} partitions; {matched / len(reference):.0%} of the alerts matched; "
        f"{sum(map(len, natives)) / len(natives) / 1e3:.0f} kB a packet. Rates are medians over batches, the first "
        f"left out; the naive loop ran over fewer, {naive_alerts:,}."
    )
    return result


def _seen(spans: Spans) -> dict[str, object]:
    """Seconds an alert, by batch, without the first one; in the form of a timing."""
    seconds = [(end - begin) / size for size, begin, end in spans[1:]]
    median = statistics.median(seconds)
    whole = sum(size for size, _, _ in spans[1:]) / (spans[-1][2] - spans[1][1])
    return {
        "seconds": [round(value, 7) for value in seconds],
        "median": median,
        "low": min(seconds),
        "high": max(seconds),
        "note": f"{1 / median:,.0f} alerts/s by the median batch, {whole:,.0f} over all but the first",
    }


def _run_step(server: str, topic: str, out: str, alerts: int, copy: LocalCopy, **more: str) -> Spans:
    """The step, set up as a user would."""
    from xmatch_hats.step.run import run_stream
    from xmatch_hats.step.settings import load_settings
    from xmatch_hats.step.waiting import Stop

    environment = {
        "CONSUMER_SERVER": server,
        "CONSUMER_TOPICS": topic,
        "CONSUMER_GROUP_ID": out,
        "PRODUCER_SERVER": server,
        "PRODUCER_TOPIC": out,
        "ENABLE_PARTITION_EOF": "true",
        "CONSUME_MESSAGES": str(BATCH),
        "CATALOG": json.dumps([{"name": "allwise", "path": str(copy.path), "radius": RADIUS_ARCSEC}]),
        **more,
    }
    marks: list[float] = []

    def watch(boundary: str, _number: int) -> None:
        if boundary == "consumed" and not marks:
            marks.append(time.monotonic())
        if boundary == "committed":
            marks.append(time.monotonic())

    with patch.dict(os.environ, environment):
        run_stream(load_settings(), Stop(), watch=watch)
    sizes = [BATCH] * (alerts // BATCH)
    return [(size, begin, end) for size, (begin, end) in zip(sizes, pairwise(marks), strict=False)]


def _run_naive(server: str, topic: str, out: str, alerts: int, copy: LocalCopy) -> Spans:
    """The naive way, on a Dask cluster of its own."""
    with cluster():
        return NaiveStream(server, topic, out, NaiveStep(copy.path, xmatches_names(copy))).run(alerts, BATCH)


def _answers_of(server: str, topic: str) -> tuple[dict[int, tuple[str, float | None]], int]:
    """What came out, by an independent reader, and how many packets too many."""
    found = {}
    messages = read_all(server, topic, timeout_s=300)
    for message in messages:
        record = first_record(message.value or b"")
        found[candid_of(record)] = answer_of(record, "allwise")
    return found, len(messages) - len(found)


def _is_same(one: tuple[str, float | None] | None, other: tuple[str, float | None]) -> bool:
    if one is None or one[0] != other[0] or (one[1] is None) != (other[1] is None):
        return False
    return one[1] is None or other[1] is None or abs(one[1] - other[1]) < 1e-6
