"""The servers are real, and do what the tests that stand on them take for granted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from psycopg import OperationalError

from tests.services import jars, topics
from tests.services.follower import Follower
from tests.services.postgres import connect
from tests.services.process import MissingComponentError, ServerProcess, ServiceError, free_ports
from tests.services.topics import COMMITTED, UNCOMMITTED, Message
from tests.shared import full_size


def transact(address: str, topic: str, values: list[bytes], *, name: str, end: str) -> Producer:
    producer = Producer(topics.settings(address, **{"transactional.id": name}))
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.flush(30)
    if end == "commit":
        producer.commit_transaction(30)
    elif end == "abort":
        producer.abort_transaction(30)
    return producer


def values_of(messages) -> list[bytes]:
    return [message.value for message in messages]


def test_a_message_comes_back_as_it_was_sent(kafka_address, topic_name):
    topic = topics.create_topic(kafka_address, topic_name(), partitions=3, max_message_bytes=10485760)
    large = os.urandom(9_000_000)
    sent = [
        Message(b"one", b"k", [("a", b"1"), ("a", b"2"), ("none", None)], timestamp_ms=1_600_000_000_123, partition=2),
        Message(None, b"k", partition=0),
        Message(large, partition=2),
    ]
    assert topics.produce(kafka_address, topic, sent) == [(2, 0), (0, 0), (2, 1)]
    nothing, one, two = topics.read_all(kafka_address, topic)
    assert (one.key, one.value, one.timestamp_ms, one.place) == (b"k", b"one", 1_600_000_000_123, (2, 0))
    assert one.headers == (("a", b"1"), ("a", b"2"), ("none", None))
    assert (one.header("a"), one.header("none"), one.header("absent")) == ("2", None, None)
    assert (nothing.value, nothing.place) == (None, (0, 0))
    assert two.value == large
    assert topics.end_offsets(kafka_address, topic) == {0: 1, 1: 0, 2: 2}


def test_what_is_not_delivered_is_told(kafka_address, topic_name):
    topic = topics.create_topic(kafka_address, topic_name(), max_message_bytes=1000)
    with pytest.raises(topics.TopicError, match=r"1 of 1 messages were not delivered.*MSG_SIZE_TOO_LARGE"):
        topics.produce(kafka_address, topic, [os.urandom(5000)])


def test_aborted_and_open_transactions_are_hidden_from_readers_of_committed_messages(kafka_address, topic_name):
    topic, name = topics.create_topic(kafka_address, topic_name()), topic_name("writer")
    with Follower(kafka_address, topic) as careful, Follower(kafka_address, topic, isolation=UNCOMMITTED) as careless:
        transact(kafka_address, topic, [b"kept"], name=name, end="commit")
        transact(kafka_address, topic, [b"dropped"], name=name, end="abort")
        transact(kafka_address, topic, [b"kept too"], name=name, end="commit")
        still_open = transact(kafka_address, topic, [b"open"], name=name, end="")
        assert values_of(topics.read_all(kafka_address, topic, patience_s=0)) == [b"kept", b"kept too"]
        everything = [b"kept", b"dropped", b"kept too", b"open"]
        assert values_of(topics.read_all(kafka_address, topic, isolation=UNCOMMITTED)) == everything
        careless.wait_for(4)
        assert values_of(careful.wait_for(2)) == [b"kept", b"kept too"]
        still_open.commit_transaction(30)
        careful.wait_for(3)
    assert values_of(careful.messages) == [b"kept", b"kept too", b"open"]
    assert values_of(careless.messages) == everything
    # Three marks of committed transactions and one of an aborted one lie between the messages.
    assert topics.end_offsets(kafka_address, topic, isolation=COMMITTED) == {0: 8}


def test_a_transaction_that_ends_while_a_topic_is_read_is_waited_for(kafka_address, topic_name):
    topic = topics.create_topic(kafka_address, topic_name())
    writer = transact(kafka_address, topic, [b"mine"], name=topic_name("writer"), end="")
    assert topics.read_all(kafka_address, topic, patience_s=0.2) == []
    commit = threading.Timer(0.5, writer.commit_transaction, [30])
    commit.start()
    assert values_of(topics.read_all(kafka_address, topic, patience_s=30)) == [b"mine"]
    commit.join()


def test_offsets_of_a_group_and_what_retention_leaves(kafka_address, topic_name):
    topic, group = topics.create_topic(kafka_address, topic_name(), partitions=2), topic_name("group")
    topics.produce(kafka_address, topic, [Message(b"%d" % i, partition=0) for i in range(10)])
    assert topics.committed(kafka_address, group, topic) == {}
    consumer = Consumer(topics.settings(kafka_address, **{"group.id": group}))
    consumer.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    consumer.close()
    assert topics.committed(kafka_address, group, topic) == {0: 4}
    topics.delete_records_before(kafka_address, topic, 0, 7)
    assert topics.start_offsets(kafka_address, topic) == {0: 7, 1: 0}
    assert values_of(topics.read_all(kafka_address, topic)) == [b"7", b"8", b"9"]
    topics.delete_records_before(kafka_address, topic, 0, 10)
    assert topics.read_all(kafka_address, topic) == []
    topics.add_partitions(kafka_address, topic, 3)
    assert topics.partitions_of(kafka_address, topic) == [0, 1, 2]
    assert topics.partitions_of(kafka_address, topic_name("absent")) == []


@pytest.mark.parametrize("kill", [full_size(False), True])
def test_kafka_keeps_data_and_address_over_stop_and_start(kafka, topic_name, kill):
    topic, address = topics.create_topic(kafka.address, topic_name()), kafka.address
    with Follower(address, topic) as follower:
        topics.produce(address, topic, [b"%d" % i for i in range(100)])
        follower.wait_for(50)
        kafka.restart(kill)
        assert kafka.address == address
        topics.produce(address, topic, [b"after"])
    assert values_of(follower.messages) == [b"%d" % i for i in range(100)] + [b"after"]
    assert values_of(topics.read_all(address, topic)) == values_of(follower.messages)


def test_a_paused_kafka_takes_nothing_until_it_goes_on(kafka, topic_name):
    topic = topics.create_topic(kafka.address, topic_name())
    kafka.pause()
    with pytest.raises(topics.TopicError, match="1 of 1 messages were not delivered"):
        topics.produce(kafka.address, topic, [b"lost"], timeout_s=1)
    kafka.resume()
    topics.produce(kafka.address, topic, [b"kept"])
    assert b"kept" in values_of(topics.read_all(kafka.address, topic))


@pytest.mark.parametrize("door", ["scram", "scram_tls"])
def test_kafka_lets_in_only_who_has_the_password(kafka, topic_name, door):
    entry = getattr(kafka, door)
    topic = topics.create_topic(entry, topic_name())
    topics.produce(entry, topic, [b"hello"])
    assert values_of(topics.read_all(kafka.address, topic)) == [b"hello"]
    assert error_on_entry({**entry, "sasl.password": "wrong"}) == KafkaError._AUTHENTICATION


def test_a_client_that_does_not_trust_the_certificate_stays_out(kafka):
    distrustful = {key: value for key, value in kafka.scram_tls.items() if key != "ssl.ca.location"}
    assert error_on_entry(distrustful) == KafkaError._SSL


def error_on_entry(entry: dict[str, str]) -> int:
    """What the client says first when it is kept out."""
    said: list[int] = []
    refused = threading.Event()

    def on_error(error):
        said.append(error.code())
        refused.set()

    producer = Producer(topics.settings(entry, error_cb=on_error))
    deadline = time.monotonic() + 30
    while not refused.is_set() and time.monotonic() < deadline:
        producer.poll(0.1)
    return said[0]


def test_the_mock_cluster_keeps_messages_and_a_groups_offsets(mock_kafka, topic_name):
    topic, group = topic_name(), topic_name("group")
    sent = [Message(b"%d" % i, b"k", [("h", b"v")], partition=i % 4) for i in range(40)]
    topics.produce(mock_kafka, topic, sent)
    found = topics.read_all(mock_kafka, topic)
    assert [(message.partition, message.value) for message in found] == sorted(
        ((message.partition, message.value) for message in sent), key=lambda pair: (pair[0], int(pair[1]))
    )
    assert {message.header("h") for message in found} == {"v"}
    consumer = Consumer(topics.settings(mock_kafka, **{"group.id": group}))
    consumer.commit(offsets=[TopicPartition(topic, 3, 5)], asynchronous=False)
    consumer.close()
    assert topics.committed(mock_kafka, group, topic) == {3: 5}


@pytest.mark.parametrize("kill", [False, True])
def test_postgres_keeps_data_and_address_over_stop_and_start(postgres, database, kill):
    cut_off = connect(database)
    cut_off.execute("CREATE TABLE numbers (number bigint)")
    cut_off.execute("INSERT INTO numbers SELECT generate_series(1, 1000)")
    cut_off.commit()
    cut_off.execute("INSERT INTO numbers VALUES (1000000)")
    postgres.restart(kill)
    with pytest.raises(OperationalError):
        cut_off.execute("SELECT 1")
    with connect(database) as connection:
        assert connection.execute("SELECT sum(number) FROM numbers").fetchone() == (500500,)


def test_postgres_lets_in_only_who_has_the_password(database):
    with pytest.raises(OperationalError, match="password authentication failed"):
        connect({**database, "password": "wrong"})
    with connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_a_server_and_its_data_do_not_outlive_the_python_that_started_it(tmp_path):
    code = (
        "import sys, pathlib; from tests.services.process import ServerProcess; "
        "server = ServerProcess('a sleeper', pathlib.Path(sys.argv[1])); server.start(['sleep', '300']); "
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    folder = tmp_path / "server"
    folder.mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    sleeper = int(owner.stdout.readline())
    assert is_alive(sleeper)
    owner.kill()
    owner.communicate()
    deadline = time.monotonic() + 30
    while is_alive(sleeper) or folder.exists():
        assert time.monotonic() < deadline, "the server lives on"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_a_server_that_does_not_start_says_why(tmp_path):
    server = ServerProcess("a failure", tmp_path)
    server.start(["sh", "-c", "echo no such luck; exit 3"])
    with pytest.raises(ServiceError, match=r"a failure ended while it started:\nno such luck"):
        server.wait_for(lambda: False)
    server.stop()


def test_a_download_that_broke_off_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(
        "#!/bin/sh\n"
        'for option; do case "$option" in -DoutputDirectory=*) folder="${option#*=}";; esac; done\n'
        'mkdir -p "$folder" && touch "$folder/kafka_2.13-0.jar" && echo the line went dead && exit 1\n'
    )
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", str(maven.parent), prepend=os.pathsep)
    monkeypatch.setattr(jars, "CACHE", tmp_path / "cache")
    with pytest.raises(MissingComponentError, match="the line went dead"):
        jars.kafka_jars()
    assert list((tmp_path / "cache").iterdir()) == []


def test_free_ports_differ():
    assert len(set(free_ports(20))) == 20
