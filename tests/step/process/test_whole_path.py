"""Real packets from topic to topic, by the step as its own process, and all that a reader finds afterwards."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest

from tests.alerts.makers import XMATCHES_FIELD, load_ztf_schema, schema_of, unpack
from tests.oracle import brute_force
from tests.services.postgres import connect
from tests.services.topics import Message, Received, create_topic, read_all
from tests.step.process.course import Course
from tests.store.detections import MAGNITUDES, Answer, Detection, expected_tables, facts
from tests.test_end_to_end import WIRE_TOLERANCE_ARCSEC, same
from xmatch_hats.cli.app import run

pytestmark = pytest.mark.whole_path

COMMAND = [sys.executable, "-c", "from xmatch_hats.cli import main; main()"]
"""What the console script does."""
VIZIER = {
    "RAJ2000": "ra",
    "DEJ2000": "dec",
    **{f"W{band}mag": f"w{band}mpro" for band in range(1, 5)},
    **{f"e_W{band}mag": f"w{band}sigmpro" for band in range(1, 5)},
    **{f"{band}mag": f"{band.lower()}_m_2mass" for band in "JHK"},
    **{f"e_{band}mag": f"{band.lower()}_msig_2mass" for band in "JHK"},
}
STATES = {"ZTF19aanyzri": None, "ZTF19aanyxbv": None, 1264463265515010003: ("J224840.67-003303.6", 0.2995)}
"""What the stored answer lacks, by object or alert: two that have no match, and one that was left out."""


@dataclass(frozen=True)
class Night:
    """Real packets, and the real rows that they are matched with."""

    copy: Path
    packets: Sequence[bytes]
    rows: Sequence[dict[str, Any]]

    @cached_property
    def alerts(self) -> list[dict[str, Any]]:
        return [record for packet in self.packets for record in unpack(packet)]

    @cached_property
    def messages(self) -> list[Message]:
        return [
            Message(packet, key=alert["objectId"].encode())
            for packet, alert in zip(self.packets, self.alerts, strict=True)
        ]

    @cached_property
    def matches(self) -> list[tuple[dict[str, Any], float] | None]:
        """The nearest row within 1 arcsec of each alert, and how far it lies."""
        places = [[alert["candidate"][name] for alert in self.alerts] for name in ("ra", "dec")]
        pairs = brute_force(*places, [row["ra"] for row in self.rows], [row["dec"] for row in self.rows], 1.0, k=1)
        found = dict(zip(pairs.left.tolist(), zip(pairs.right, pairs.sep_arcsec, strict=True), strict=True))
        return [
            (self.rows[found[number][0]], float(found[number][1])) if number in found else None
            for number in range(len(self.alerts))
        ]


@pytest.fixture(scope="module")
def night(shared_data, tmp_path_factory) -> Night:
    source, copy = shared_data / "allwise_vizier_rows.csv", tmp_path_factory.mktemp("answers") / "copy"
    assert run(["catalog", "import", str(source), "--coverage", "all-sky", "--out", str(copy)]) == 0
    folders = (shared_data / "ztf_alerts", shared_data / "alerce_oracle")
    paths = [path for folder in folders for path in sorted(folder.rglob("*.avro")) if "fink_" not in str(path)]
    assert len(paths) == 479 + 13
    with source.open(newline="") as file:
        rows = [
            {"designation": row["AllWISE"]} | {name: float(row[vizier] or "nan") for vizier, name in VIZIER.items()}
            for row in csv.DictReader(file)
        ]
    return Night(copy, [path.read_bytes() for path in paths], rows)


@pytest.fixture
def course(make_course, night, kafka_address) -> Course:
    """The course of these packets through topics of three partitions, with a topic of metrics."""
    course = make_course(night, batch=100, partitions=3)
    create_topic(kafka_address, f"{course.out}_metrics")
    return course


def extras(course: Course) -> dict[str, str]:
    return {
        "METRICS_HOST": course.address,
        "METRICS_TOPIC": f"{course.out}_metrics",
        "HTTP_PORT": "0",
        "STEP_VERSION": "1.2.3",
    }


def by_input(course: Course) -> list[Received]:
    """The output of each input: the same place in the same partition, since keys and partitions are the same."""
    lanes: dict[int, list[Received]] = defaultdict(list)
    for message in read_all(course.address, course.out):
        lanes[message.partition].append(message)
    assert {number: len(lane) for number, lane in lanes.items()} == Counter(place[0] for place in course.places)
    return [lanes[partition][offset] for partition, offset in course.places]


def check_answers(night: Night, outputs: list[Received]) -> Counter[str]:
    """Compare every output's match, key and header with brute force; gives the statuses."""
    statuses: Counter[str] = Counter()
    for message, alert, match in zip(outputs, night.alerts, night.matches, strict=True):
        (record,) = unpack(message.value)
        assert list(record)[-1] == "xmatches"
        assert message.key == alert["objectId"].encode()
        status = message.header("xmatch.status")
        statuses[status] += 1
        assert status == ("unmatched" if match is None else "matched")
        if match is None:
            assert record["xmatches"] is None
            continue
        row, distance = match
        answer = record["xmatches"]["allwise"]
        assert set(answer) == {"angDist", "AllWISE", *VIZIER}
        assert answer["AllWISE"] == row["designation"]
        assert answer["angDist"] == pytest.approx(distance, abs=1e-6)
        for vizier, name in VIZIER.items():
            value = np.float32(row[name])
            assert answer[vizier] == (None if np.isnan(value) else value)
    return statuses


def check_stored_answers(shared_data: Path, outputs: list[Received]) -> int:
    """Compare with the answer that the original step's tests keep; gives the number of its rows."""
    with (shared_data / "alerce_oracle" / "expected_xmatch.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    answered = 0
    for message in outputs[-13:]:
        (alert,) = unpack(message.value)
        known = STATES.get(alert["objectId"], STATES.get(alert["candid"], ()))
        if known is None:
            assert alert["xmatches"] is None
            continue
        if not known:
            (row,) = [row for row in expected if is_of(row, alert)]
            expected.remove(row)
            known = (row["AllWISE"], float(row["angDist"]))
            answered += 1
        match = alert["xmatches"]["allwise"]
        assert match["AllWISE"] == known[0]
        assert match["angDist"] == pytest.approx(known[1], abs=WIRE_TOLERANCE_ARCSEC)
    assert not expected
    return answered


def is_of(row: dict[str, str], alert: dict[str, Any]) -> bool:
    """Whether a stored answer is that of an alert: of its object, and of its own position."""
    places = [(float(row[f"{name}_in"]), alert["candidate"][name]) for name in ("ra", "dec")]
    return row["oid_in"] == alert["objectId"] and all(abs(theirs - ours) < 1e-9 for theirs, ours in places)


def check_tables(course: Course, night: Night) -> dict[str, int]:
    """Compare the tables with the rules of the contract, followed alert by alert."""
    names = ("ra", "dec", "jd", "ndethist", "ncovhist", "jdstarthist", "jdendhist")
    detections = []
    for _, alert, match in sorted(zip(course.places, night.alerts, night.matches, strict=True), key=lambda one: one[0]):
        known = {name: alert["candidate"].get(name) for name in names}
        answers = {}
        if match is not None:
            row, distance = match
            values = {name: row[name] for name in ("ra", "dec", *MAGNITUDES)}
            answers["allwise"] = Answer(row["designation"], distance, values)
        detections.append(Detection(facts(alert["objectId"], **known), answers))
    expected, found = expected_tables(detections), course.tables()
    for name in ("object", "allwise"):
        assert found[name] == expected[name]
    assert len(found["xmatch"]) == len(expected["xmatch"])
    for row, wanted in zip(found["xmatch"], expected["xmatch"], strict=True):
        assert row.pop("dist") == pytest.approx(wanted.pop("dist"), abs=1e-9)
        assert row == wanted
    with connect(course.database) as connection:
        steps = connection.execute("SELECT step_id, name, version, comments, date FROM step").fetchall()
    ((*step, date),) = steps
    assert step == ["1.2.3", "1.2.3", "1.2.3", ""]
    assert isinstance(date, datetime)
    return {name: len(rows) for name, rows in found.items()}


def check_metrics(course: Course, night: Night) -> int:
    """See that the messages of the batches add up to the stream; gives their number."""
    batches = [json.loads(message.value) for message in read_all(course.address, f"{course.out}_metrics")]
    for batch in batches:
        assert list(batch) == [
            *("timestamp_received", "timestamp_sent", "execution_time", "candid", "oid", "n_messages", "source")
        ]
        assert batch["source"] == "XmatchStep"
        assert batch["n_messages"] == len(batch["candid"]) == len(batch["oid"])
        began, ended = (datetime.fromisoformat(batch[f"timestamp_{name}"]) for name in ("received", "sent"))
        assert began.utcoffset().total_seconds() == 0
        assert batch["execution_time"] == pytest.approx((ended - began).total_seconds(), abs=1e-3)
    named = sorted(
        (number, oid) for batch in batches for number, oid in zip(batch["candid"], batch["oid"], strict=True)
    )
    assert named == sorted((str(alert["candid"]), alert["objectId"]) for alert in night.alerts)
    return len(batches)


def check_all(course: Course, night: Night, shared_data: Path, record_property) -> list[Received]:
    outputs = by_input(course)
    record_property("statuses", dict(check_answers(night, outputs)))
    record_property("stored answers", check_stored_answers(shared_data, outputs))
    record_property("rows", check_tables(course, night))
    record_property("batches", check_metrics(course, night))
    assert read_all(course.address, f"{course.out}_dlq") == []
    assert course.committed() == len(night.packets)
    return outputs


def test_real_packets_keep_their_schema_and_get_their_answers(course, night, shared_data, record_property):
    done = subprocess.run(
        [*COMMAND, "run"],
        env=course.zygote.environ | course.settings(ENABLE_PARTITION_EOF="true") | extras(course),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == ""
    assert "listening on 127.0.0.1 port " in done.stderr
    assert "done: 492 in, 492 out, 0 dead letters, 0 skipped" in done.stderr
    for message, packet, alert in zip(
        check_all(course, night, shared_data, record_property), night.packets, night.alerts, strict=True
    ):
        before, after = schema_of(packet), schema_of(message.value)
        assert after["fields"] == [*before["fields"], XMATCHES_FIELD]
        assert {key: after[key] for key in after if key != "fields"} == {
            key: before[key] for key in before if key != "fields"
        }
        (record,) = unpack(message.value)
        assert same({key: value for key, value in record.items() if key != "xmatches"}, alert)


def test_real_packets_in_one_schema_exactly_once(course, night, shared_data, record_property):
    course.delivery = "exactly-once"
    course.finish(OUTPUT_SCHEMA="ztf-3.3", **extras(course))
    official = load_ztf_schema(shared_data / "schemas" / "ztf" / "v3.3")
    reader = fastavro.parse_schema(official)
    for message, alert in zip(check_all(course, night, shared_data, record_property), night.alerts, strict=True):
        fields = schema_of(message.value)["fields"]
        assert [field["name"] for field in fields] == [*(field["name"] for field in official["fields"]), "xmatches"]
        # The official schema reads it, by Avro's own rules.
        (record,) = fastavro.reader(io.BytesIO(message.value), reader_schema=reader)
        for name in ("objectId", "candid", "cutoutScience", "cutoutTemplate", "cutoutDifference"):
            assert record[name] == alert[name]
        old = {name: value for name, value in alert["candidate"].items() if name in record["candidate"]}
        assert same({name: record["candidate"][name] for name in old}, old)
