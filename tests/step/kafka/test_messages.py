"""The form of what goes to Kafka: keys, headers, and letters that die more than once."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tests.alerts.makers import SMALL_SCHEMA, pack, small_alert
from xmatch_hats.alerts.enrich import Outcome
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.errors import PacketError, UnknownSchemaError
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.step.flight import Fate, Message
from xmatch_hats.step.kafka.messages import KafkaOrigin, alert_message, bare, dead_letter, without_value

HEADERS = (("trace", b"1"), ("empty", None), ("trace", b"2"))


def fate(
    *, headers=HEADERS, key: bytes | None = b"key", value: bytes | None = b"value", data: bytes | None = None
) -> Fate:
    origin = KafkaOrigin("alerts", 3, 12345, key, value, tuple(headers), 1_700_000_000_123)
    packet = PacketReader().read(data) if data is not None else None
    return Fate(Message(value or b"", "alerts[3]", 12345, origin), packet)


def matched(data: bytes, headers=(), **by_catalog: MatchStatus) -> Fate:
    made = fate(headers=headers, value=data, data=data)
    statuses = {name: np.array([status], np.uint8) for name, status in by_catalog.items()}
    made.outcome = Outcome([b"new"], np.array([max(by_catalog.values())], np.uint8), statuses)
    return made


def test_an_alert_has_its_objects_name_as_key_its_headers_and_its_status():
    message = alert_message(matched(pack([small_alert(7, objectId="ZTF é")]), HEADERS, allwise=MatchStatus.MATCHED))
    assert (message.key, message.value) == ("ZTF é".encode(), b"new")
    assert message.headers == [*HEADERS, ("xmatch.status", b"matched")]


def test_an_alert_without_an_object_has_its_own_number_as_key():
    schema = SMALL_SCHEMA | {"fields": [field for field in SMALL_SCHEMA["fields"] if field["name"] != "objectId"]}
    assert alert_message(matched(pack([small_alert(7)], schema), a=MatchStatus.UNMATCHED)).key == b"7"
    schema = SMALL_SCHEMA | {"fields": SMALL_SCHEMA["fields"][2:]}
    assert alert_message(matched(pack([small_alert(7)], schema), a=MatchStatus.UNMATCHED)).key is None


def test_several_catalogues_have_a_status_each():
    made = matched(pack([small_alert()]), allwise=MatchStatus.UNMATCHED, gaia=MatchStatus.OUTSIDE_COVERAGE)
    made.outcome.status[0] = MatchStatus.OUTSIDE_COVERAGE
    assert alert_message(made).headers == [
        ("xmatch.status", b"outside-coverage"),
        ("xmatch.status.allwise", b"unmatched"),
        ("xmatch.status.gaia", b"outside-coverage"),
    ]


def test_an_alert_loses_what_an_earlier_step_or_death_said_of_it():
    old = [
        ("xmatch.status", b"x"),
        ("xmatch.status.gaia", b"x"),
        ("xmatch.error.class", b"x"),
        ("xmatch.dead.attempts", b"3"),
    ]
    message = alert_message(matched(pack([small_alert()]), [*HEADERS, *old], a=MatchStatus.MATCHED))
    assert message.headers == [*HEADERS, ("xmatch.status", b"matched")]


def test_a_dead_letter_is_the_message_as_it_came_and_why_and_whence_behind_it():
    letter = dead_letter(fate(), UnknownSchemaError("unknown schema id 7", place="byte 1", hint="set SCHEMA_DIR"))
    assert (letter.key, letter.value) == (b"key", b"value")
    headers = dict(letter.headers[len(HEADERS) :])
    assert letter.headers[: len(HEADERS)] == list(HEADERS)
    assert int(headers.pop("xmatch.dead.time")) > 1_700_000_000_000
    assert headers == {
        "xmatch.error.class": b"UnknownSchemaError",
        "xmatch.error.message": b"byte 1: unknown schema id 7 (set SCHEMA_DIR)",
        "xmatch.source.topic": b"alerts",
        "xmatch.source.partition": b"3",
        "xmatch.source.offset": b"12345",
        "xmatch.source.timestamp": b"1700000000123",
        "xmatch.dead.attempts": b"1",
    }


def test_the_status_that_a_message_came_with_is_its_own():
    letter = dead_letter(fate(headers=[("xmatch.status", b"matched")]), PacketError("broken"))
    assert letter.headers[0] == ("xmatch.status", b"matched")


def test_a_letter_that_dies_again_tells_where_it_first_came_from():
    first = dead_letter(fate(), PacketError("broken"))
    second = dead_letter(fate(headers=first.headers), UnknownSchemaError("still broken"))
    third = dict(dead_letter(fate(headers=second.headers), PacketError("for ever")).headers)
    assert [name for name, _ in second.headers] == [name for name, _ in first.headers]
    assert third["xmatch.dead.attempts"] == b"3"
    assert third["xmatch.error.message"] == b"for ever"
    assert third["xmatch.source.offset"] == b"12345"


@pytest.mark.parametrize("attempts", [None, b"", b"many", b"-1", "٣".encode()])
def test_attempts_that_somebody_made_up_do_no_harm(attempts):
    headers = [("xmatch.source.topic", None), ("xmatch.dead.attempts", attempts)]
    assert dict(dead_letter(fate(headers=headers), PacketError("x")).headers)["xmatch.dead.attempts"] == b"1"


def test_a_long_reason_is_cut_between_two_letters():
    letter = dead_letter(fate(), PacketError("é" * 2000 + "\ud800"))
    text = dict(letter.headers)["xmatch.error.message"]
    assert len(text) <= 1000
    assert text.decode() == "é" * 500
    odd = dict(dead_letter(fate(), PacketError("a" + "é" * 2000)).headers)["xmatch.error.message"]
    assert odd.decode() == "a" + "é" * 499


def test_what_no_topic_holds_leaves_length_and_checksum_then_nothing_of_its_own():
    letter = dead_letter(fate(value=b"v" * 1000), PacketError("too large"))
    without = without_value(letter)
    assert (without.key, without.value, without.headers[:-2]) == (b"key", None, letter.headers)
    assert without.headers[-2:] == [
        ("xmatch.value.length", b"1000"),
        ("xmatch.value.sha256", hashlib.sha256(b"v" * 1000).hexdigest().encode()),
    ]
    assert not without.is_bare
    left = bare(without)
    assert left.is_bare
    assert (left.key, left.value, left.headers) == (None, None, without.headers[len(HEADERS) :])
