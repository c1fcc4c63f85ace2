"""The step as one would write it in an afternoon: decode, call LSDB, encode anew, write."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pandas as pd
from confluent_kafka import Consumer, KafkaError, Producer

from benchmarks.peers.lsdb_plain import ROW, PlainLsdb
from xmatch_hats.alerts.plan import XMATCHES_TYPE

RADIUS_ARCSEC = 1.0


class NaiveStep:
    """Packets in, packets out, by fastavro and LSDB's own way of matching a table.

    Parameters
    ----------
    catalog : Path
        Folder of the HATS collection.
    columns : dict of str to str
        From the catalogue's columns to names in ``xmatches``.
    """

    def __init__(self, catalog: Path, columns: dict[str, str]) -> None:
        self._columns = columns
        self._lsdb = PlainLsdb(catalog, list(columns), RADIUS_ARCSEC)
        self._schemas: dict[str, Any] = {}

    def enrich(self, values: Sequence[bytes]) -> list[tuple[bytes, str]]:
        """Match a batch of packets; each anew, with its ``objectId``."""
        decoded = [self._decode(value) for value in values]
        positions = [[record["candidate"][axis] for record, _ in decoded] for axis in ("ra", "dec")]
        frame = self._lsdb.match((np.array(positions[0]), np.array(positions[1])))
        found: dict[Any, Any] = {row[ROW]: row for row in frame.to_dict("records")}
        out = []
        for number, (record, schema) in enumerate(decoded):
            record["xmatches"] = self._xmatches(found.get(number))
            buffer = io.BytesIO()
            fastavro.writer(buffer, schema, [record])
            out.append((buffer.getvalue(), record["objectId"]))
        return out

    def _decode(self, value: bytes) -> tuple[dict[str, Any], Any]:
        reader = fastavro.reader(io.BytesIO(value))
        text = reader.metadata["avro.schema"]
        if text not in self._schemas:
            schema = dict(reader.writer_schema)
            schema["fields"] = [*schema["fields"], {"name": "xmatches", "type": XMATCHES_TYPE, "default": None}]
            self._schemas[text] = fastavro.parse_schema(schema, _force=True)
        return next(reader), self._schemas[text]

    def _xmatches(self, row: dict[str, Any] | None) -> dict[str, Any] | None:
        if row is None:
            return None
        values: dict[str, Any] = {"angDist": float(row["_dist_arcsec"])}
        for column, name in self._columns.items():
            value = row[column]
            values[name] = None if pd.isna(value) else value if isinstance(value, str) else float(value)
        return {"allwise": values}


def run_folder(step: NaiveStep, files: Sequence[Path], out: Path, batch: int) -> None:
    """Match files of one packet each; each becomes a file."""
    out.mkdir()
    for start in range(0, len(files), batch):
        some = files[start : start + batch]
        for path, (packet, _) in zip(some, step.enrich([path.read_bytes() for path in some]), strict=True):
            (out / path.name).write_bytes(packet)


class NaiveStream:
    """The loop between two Kafka topics.

    Parameters
    ----------
    server : str
    topic, out : str
    step : NaiveStep
    """

    def __init__(self, server: str, topic: str, out: str, step: NaiveStep) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": server,
                "group.id": f"naive-{out}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        self._consumer.subscribe([topic])
        self._producer = Producer(
            {"bootstrap.servers": server, "acks": "all", "enable.idempotence": True, "message.max.bytes": 20 << 20}
        )
        self._out = out
        self._step = step

    def run(self, alerts: int, batch: int) -> list[tuple[int, float, float]]:
        """Run over so many alerts; number, begin and end of each batch, seconds."""
        done, batches = 0, []
        while done < alerts:
            began = time.monotonic()
            messages = self._consume(min(batch, alerts - done))
            for packet, name in self._step.enrich(messages):
                self._producer.produce(self._out, packet, name.encode())
                self._producer.poll(0)
            self._producer.flush()
            self._consumer.commit(asynchronous=False)
            done += len(messages)
            batches.append((len(messages), began, time.monotonic()))
        self._consumer.close()
        return batches

    def _consume(self, count: int) -> list[bytes]:
        values: list[bytes] = []
        while len(values) < count:
            for message in self._consumer.consume(count - len(values), 0.1):
                error = message.error()
                if error is None:
                    values.append(message.value())
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise RuntimeError(error)
        return values
