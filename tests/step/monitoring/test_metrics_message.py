from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.step.monitoring.reports import RECEIVED, make_report
from xmatch_hats.step.monitoring.metrics_message import MetricsMessage


def test_the_message_is_the_contract_s():
    message = json.loads(MetricsMessage.build(make_report()))
    assert list(message.items()) == [
        ("timestamp_received", "2026-01-02T03:04:05.000000+00:00"),
        ("timestamp_sent", "2026-01-02T03:04:06.500000+00:00"),
        ("execution_time", 1.5),
        ("candid", ["1", "2", "3", "4", "5", "6", "7"]),
        ("oid", ["a", "b", "", "d", "e", "f", "g"]),
        ("n_messages", 10),
        ("source", "XmatchStep"),
    ]


def test_another_name_of_the_step():
    assert json.loads(MetricsMessage.build(make_report(), "Another"))["source"] == "Another"


def test_an_empty_batch_has_a_message():
    message = json.loads(MetricsMessage.build(make_report(accounts={}, candids=(), object_ids=())))
    assert (message["n_messages"], message["candid"], message["oid"]) == (0, [], [])


@pytest.mark.parametrize("hours", [-4, 0, 13])
def test_times_are_utc_whatever_zone_they_are_given_in(hours):
    elsewhere = RECEIVED.astimezone(timezone(timedelta(hours=hours)))
    message = json.loads(MetricsMessage.build(make_report(received=elsewhere)))
    told = datetime.fromisoformat(message["timestamp_received"])
    assert told == RECEIVED
    assert told.utcoffset() == timedelta(0)
    assert message["execution_time"] == 1.5


def test_a_clock_set_back_is_no_negative_time():
    message = json.loads(MetricsMessage.build(make_report(sent=RECEIVED - timedelta(seconds=3))))
    assert message["execution_time"] == 0


def test_any_name_is_json():
    names = ('"', "\n", "\ud800", "é", "\x00")
    data = MetricsMessage.build(make_report(candids=names, object_ids=names, received=datetime.now(UTC)))
    assert json.loads(data.decode("ascii"))["oid"] == list(names)
