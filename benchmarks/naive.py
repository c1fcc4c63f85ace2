"""The step as one would write it in an afternoon: decode, call LSDB, encode anew, produce."""

from __future__ import annotations

import io
import time
from typing import Any

import fastavro
import lsdb
import pandas as pd
from confluent_kafka import Consumer, KafkaError, Producer

from xmatch_hats.alerts.plan import XMATCHES_TYPE

RADIUS_ARCSEC = 1.0


class NaiveStep:
    """A loop over batches, with LSDB's own way of matching a table.

    Parameters
    ----------
    server : str
    topic, out : str
    catalog : str
        Folder of the HATS collection.
    columns : dict of str to str
        From the catalogue's columns to names in ``xmatches``.
    client : distributed.Client
    """

    def __init__(self, server: str, topic: str, out: str, catalog: str, columns: dict[str, str], client: Any) -> None:
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
        self._columns = columns
        self._catalog = lsdb.open_catalog(catalog, columns=[*columns])
        self._client = client
        self._schemas: dict[str, Any] = {}

    def run(self, alerts: int, batch: int) -> list[tuple[int, float, float]]:
        """Run over so many alerts; number, begin and end of each batch, seconds."""
        done, batches = 0, []
        while done < alerts:
            began = time.monotonic()
            messages = self._consume(min(batch, alerts - done))
            self._process(messages)
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

    def _process(self, values: list[bytes]) -> None:
        decoded = [self._decode(value) for value in values]
        frame = pd.DataFrame(
            {
                "row": range(len(decoded)),
                "ra": [record["candidate"]["ra"] for record, _ in decoded],
                "dec": [record["candidate"]["dec"] for record, _ in decoded],
            }
        )
        left = lsdb.from_dataframe(
            frame, ra_column="ra", dec_column="dec", margin_threshold=None, catalog_name="alerts"
        )
        joined = left.crossmatch(
            self._catalog,
            radius_arcsec=RADIUS_ARCSEC,
            n_neighbors=1,
            suffixes=("_alert", ""),
            suffix_method="all_columns",
        )
        found = {row["row_alert"]: row for row in joined.compute().to_dict("records")}
        for number, (record, schema) in enumerate(decoded):
            record["xmatches"] = self._xmatches(found.get(number))
            buffer = io.BytesIO()
            fastavro.writer(buffer, schema, [record])
            self._producer.produce(self._out, buffer.getvalue(), record["objectId"].encode())
            self._producer.poll(0)
        self._producer.flush()

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
        values = {"angDist": float(row["_dist_arcsec"])}
        for column, name in self._columns.items():
            value = row[column]
            values[name] = None if pd.isna(value) else value if isinstance(value, str) else float(value)
        return {"allwise": values}
