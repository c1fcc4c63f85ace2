"""Throughput of the streaming step, Kafka to Kafka, beside the naive way in the same run.

``python -m benchmarks.stream [--alerts N] [--packets DIR]`` starts a broker on this machine, makes a sky of ALLWISE's
density around the packets, sends the packets (real ones where they are at hand, made ones else) through both, and
compares what came out. It writes ``benchmarks/RESULTS.md`` and ``benchmarks/results.json``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import fastavro
import numpy as np
import pyarrow as pa

from benchmarks.naive import RADIUS_ARCSEC, NaiveStep
from tests.services.kafka import KafkaBroker
from tests.services.topics import Message, create_topic, produce, read_all
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.importer import build_copy
from xmatch_hats.demo.letters import designations
from xmatch_hats.demo.sky import SkyBox, make_sky
from xmatch_hats.step.run import run_stream
from xmatch_hats.step.settings import load_settings
from xmatch_hats.step.waiting import Stop
from xmatch_hats.tables.write import write_table

FOLDER = Path(__file__).parent
REAL_PACKETS = FOLDER.parents[1] / "shared" / "data" / "ztf_alerts"
DENSITY_DEG2 = 18_100
BATCH = 1000
OFFSET_DEG = 0.2 / 3600
PARTITIONS = 4
PACKAGES = ("xmatch-hats", "lsdb", "dask", "pyarrow", "fastavro", "confluent-kafka")
BOXES = (SkyBox(8.0, 16.5, -14.0, -5.5), SkyBox(111.0, 118.5, 22.0, 24.8))
"""Where the real exposures lie."""


@dataclass(frozen=True)
class Run:
    """One way through the stream."""

    name: str
    rates: list[float]
    """Alerts per second of each batch but the first."""
    seconds: float
    """From the first message to the last confirmation, the first batch with its warming up included."""
    alerts: int
    answers: dict[tuple[str, int], int]
    """How often each answer came out: object's match and candid."""

    @property
    def rate(self) -> float:
        """Median alerts per second."""
        return statistics.median(self.rates)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=8000)
    parser.add_argument("--packets", type=Path, default=REAL_PACKETS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xmatch-hats-bench-") as name:
        folder = Path(name)
        packets = packets_of(options.packets)
        print(f"{len(packets)} packets of {sum(map(len, packets)) / len(packets) / 1e3:.0f} kB on average", flush=True)
        copy = make_catalog(folder, packets)
        print(f"catalogue of {copy.total_rows:,} rows in {len(copy.partitions)} partitions", flush=True)
        with KafkaBroker() as broker:
            runs = run_all(broker.address, packets, options.alerts, copy)
    write_results(runs, packets, copy)


def packets_of(place: Path) -> list[bytes]:
    """Real packets that lie in the sky of the catalogue, or made ones."""
    found = []
    for path in sorted(place.rglob("*.avro")):
        data = path.read_bytes()
        records = list(fastavro.reader(io.BytesIO(data)))
        candidate = records[0]["candidate"]
        if len(records) == 1 and "objectId" in records[0] and any(is_inside(box, candidate) for box in BOXES):
            found.append(data)
    return found or made_packets()


def is_inside(box: SkyBox, candidate: dict[str, float]) -> bool:
    """Whether an alert lies in a box that does not reach through RA 0."""
    return box.ra_min < candidate["ra"] < box.ra_max and box.dec_min < candidate["dec"] < box.dec_max


def made_packets() -> list[bytes]:
    """Packets of a made exposure on the first box."""
    from xmatch_hats.demo.exposure import make_exposure
    from xmatch_hats.demo.packets import packet_bytes

    sky = make_sky(100_000, seed=1, box=BOXES[0])
    return list(packet_bytes(make_exposure(sky, BOXES[0], alerts=400)))


def make_catalog(folder: Path, packets: list[bytes]) -> LocalCopy:
    """A copy of a made sky at ALLWISE's mean density, with a source at three of five packets."""
    parts = [make_sky(int(DENSITY_DEG2 * box.area_deg2), seed=7, box=box, part=i) for i, box in enumerate(BOXES)]
    sky = pa.concat_tables(parts)
    ra, dec = (sky[name].to_numpy().copy() for name in ("ra", "dec"))
    found = [next(fastavro.reader(io.BytesIO(packet)))["candidate"] for packet in packets]
    near = [candidate for number, candidate in enumerate(found) if number % 5 < 3]
    rows = np.linspace(0, len(ra) - 1, len(near)).astype(int)
    ra[rows] = np.round([candidate["ra"] for candidate in near], 7)
    dec[rows] = np.round([candidate["dec"] + OFFSET_DEG for candidate in near], 7)
    for name, values in (("ra", ra), ("dec", dec), ("designation", designations(ra, dec))):
        sky = sky.set_column(sky.schema.get_field_index(name), sky.schema.field(name), pa.chunked_array([values]))
    write_table(sky, folder / "sky.parquet")
    return build_copy([folder / "sky.parquet"], folder / "allwise", workers=0)


def run_all(server: str, packets: list[bytes], alerts: int, copy: LocalCopy) -> list[Run]:
    """All ways, each with its own output topic, over the same input."""
    topic = create_topic(server, "alerts", PARTITIONS)
    keys = [next(fastavro.reader(io.BytesIO(packet)))["objectId"].encode() for packet in packets]
    messages = (Message(packets[i % len(packets)], keys[i % len(packets)]) for i in range(alerts))
    produce(server, topic, messages)
    ways: dict[str, Callable[[str], Run]] = {
        "step, at least once": lambda name: run_step(name, server, topic, alerts, copy),
        "step, exactly once": lambda name: run_step(name, server, topic, alerts, copy, DELIVERY="exactly-once"),
        "naive": lambda name: run_naive(name, server, topic, min(alerts, 4 * BATCH), copy),
    }
    runs = []
    for name, way in ways.items():
        runs.append(way(name))
        print(f"{name}: {runs[-1].rate:,.0f} alerts/s", flush=True)
    return runs


def run_step(name: str, server: str, topic: str, alerts: int, copy: LocalCopy, **more: str) -> Run:
    """The step, set up as a user would."""
    out = create_topic(server, name.replace(" ", "-").replace(",", ""), PARTITIONS)
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
        total = run_stream(load_settings(), Stop(), watch=watch)
    sizes = [BATCH] * (alerts // BATCH)
    spans = [(size, a, b) for size, (a, b) in zip(sizes, pairwise(marks), strict=False)]
    return finished(name, spans, total.out, server, out)


def run_naive(name: str, server: str, topic: str, alerts: int, copy: LocalCopy) -> Run:
    """The naive way, on a Dask cluster of its own."""
    from distributed import Client, LocalCluster

    out = create_topic(server, name, PARTITIONS)
    definition = copy.definition
    assert definition is not None
    columns = {column: definition.vizier_name(column) for column in definition.xmatch_columns}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        spans = NaiveStep(server, topic, out, str(copy.path), columns, client).run(alerts, BATCH)
    return finished(name, spans, alerts, server, out)


def finished(name: str, spans: list[tuple[int, float, float]], alerts: int, server: str, out: str) -> Run:
    """Put a run together with what came out of it."""
    rates = [size / (end - begin) for size, begin, end in spans[1:]]
    return Run(name, rates, spans[-1][2] - spans[0][1], alerts, answers_of(server, out))


def answers_of(server: str, topic: str) -> dict[tuple[str, int], int]:
    """What came out, by an independent reader."""
    found: dict[tuple[str, int], int] = {}
    for message in read_all(server, topic, timeout_s=300):
        record = next(fastavro.reader(io.BytesIO(message.value or b"")))
        match = (record["xmatches"] or {}).get("allwise", {}).get("AllWISE", "")
        # One survey's broker keeps the number in the candidate alone.
        key = (match, record.get("candid", record["candidate"].get("candid")))
        found[key] = found.get(key, 0) + 1
    return found


def write_results(runs: list[Run], packets: list[bytes], copy: LocalCopy) -> None:
    """Compare the answers, and write what was seen."""
    reference = runs[0]
    for run in runs[1:]:
        assert run.answers.keys() <= reference.answers.keys(), f"{run.name} differs from {reference.name}"
    matched = sum(count for (match, _), count in reference.answers.items() if match)
    naive = next(run for run in runs if run.name == "naive")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}"
    lines = [
        "# Kafka to Kafka",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine}. The broker and whatever runs share the machine.",
        "",
        f"{len(packets)} packets of {sum(map(len, packets)) / len(packets) / 1e3:.0f} kB on average, repeated; batches "
        f"of {BATCH}; a made catalogue of {copy.total_rows:,} rows at {DENSITY_DEG2:,} per square degree; "
        f"{matched / reference.alerts:.0%} of the alerts matched. All ways gave the same matches. Rates are medians "
        f"over batches, the first left out. Peak memory of the process that ran all of them: {peak} MiB.",
        "",
        "| way | alerts/s | slowest batch | fastest batch | against the naive way |",
        "|---|---|---|---|---|",
    ]
    for run in runs:
        cells = [
            f"{run.rate:,.0f}",
            f"{min(run.rates):,.0f}",
            f"{max(run.rates):,.0f}",
            f"{run.rate / naive.rate:.1f} x",
        ]
        lines.append(f"| {run.name} | {' | '.join(cells)} |")
    (FOLDER / "RESULTS.md").write_text("\n".join(lines) + "\n")
    figures = [{"name": run.name, "alerts": run.alerts, "seconds": run.seconds, "rates": run.rates} for run in runs]
    (FOLDER / "results.json").write_text(json.dumps({"stream": figures}, indent=1) + "\n")
    print("\n".join(lines[-len(runs) - 2 :]))


if __name__ == "__main__":
    main()
