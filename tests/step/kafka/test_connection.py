"""What is said of brokers that go and come back."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import KafkaError, KafkaException

from xmatch_hats.step.kafka import connection as module
from xmatch_hats.step.kafka.connection import Connection, serve


class Client:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.answers, self.asked = False, 0

    def list_topics(self, timeout: float) -> None:
        self.asked += 1
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(caplog, monkeypatch):
    monkeypatch.setattr(module, "_PROBE_SECONDS", 0.0)
    told, client = [], Client()
    connection = Connection("source", lambda is_up, why: told.append((is_up, why)))
    connection.probe(client)
    assert client.asked == 0
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            connection.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
        connection.probe(client)
        client.answers = True
        connection.probe(client)
        connection.probe(client)
        connection.is_up()
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "waiting for source: 1/1 brokers are down"
    assert said[1].startswith("source works again after")
    assert len(said) == 2
    assert told == [(False, "1/1 brokers are down")] * 3 + [(True, "")]
    assert client.asked == 2


@pytest.mark.parametrize("code", [KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE])
def test_a_broker_that_lets_nobody_in_is_one_that_is_away(code):
    told = []
    Connection("producer", lambda is_up, why: told.append(is_up)).on_error(KafkaError(code))
    assert told == [False]


def test_what_is_no_outage_is_mentioned_once(caplog):
    connection = Connection("source", lambda *_: pytest.fail("that is no outage"))
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            connection.on_error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no topic a"))
        connection.on_error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no topic b"))
    assert [record.getMessage() for record in caplog.records] == ["source: no topic a", "source: no topic b"]


def test_an_error_of_a_callback_that_another_one_met_is_the_error():
    fatal = KafkaException(KafkaError(KafkaError._FATAL, "for good"))

    def call() -> None:
        raise SystemError("returned a result with an exception set") from fatal

    with pytest.raises(KafkaException) as caught:
        serve(call)
    assert caught.value is fatal

    def other() -> None:
        raise SystemError("something else")

    with pytest.raises(SystemError, match="something else"):
        serve(other)
    assert serve(lambda: 3) == 3
