"""Topics made, packets fed and the sample made, with a real broker."""

from __future__ import annotations

import io
import json
import os
import tarfile

import pytest
from confluent_kafka.admin import AdminClient

from tests.alerts.makers import pack, small_alert
from tests.docker.commands import feed, make_topics, messages_of
from tests.docker.parts import BIN, run, script

LARGE = 6 << 20
"""What the contract allows a message to have."""


@pytest.fixture
def packets(tmp_path) -> dict[str, bytes]:
    """A folder of ten alerts of five objects, one damaged packet, and an archive with one more."""
    folder = tmp_path / "packets"
    folder.mkdir()
    made = {f"{number}.avro": pack([small_alert(number % 5, tags=[str(number)])]) for number in range(10)}
    made["damaged.avro"] = made["0.avro"][:-20]
    for name, data in made.items():
        (folder / name).write_bytes(data)
    archived = pack([small_alert(7)])
    with tarfile.open(tmp_path / "night.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("7.avro")
        member.size = len(archived)
        archive.addfile(member, io.BytesIO(archived))
    return {**made, "night/7.avro": archived}


def test_packets_arrive_as_they_are_and_an_objects_stay_in_order(kafka_address, topic_name, packets, tmp_path):
    topic = topic_name("feed")
    assert make_topics(kafka_address, topic).returncode == 0
    result = feed(kafka_address, topic, tmp_path / "packets", tmp_path / "night.tar.gz")
    assert (result.returncode, result.stdout) == (0, "12 sent, 0 failed, 0 unreadable\n"), result.stderr
    found = messages_of(kafka_address, topic, 12)
    assert sorted(value for _, _, value in found) == sorted(packets.values())
    keys = {value: key for _, key, value in found}
    assert keys[packets["damaged.avro"]] is None
    assert {keys[data] for name, data in packets.items() if name != "damaged.avro"} == {
        *(b"ZTF%d" % number for number in (0, 1, 2, 3, 4, 7))
    }
    for number in range(5):
        mine = [value for _, key, value in found if key == b"ZTF%d" % number]
        assert mine == [packets[f"{number}.avro"], packets[f"{number + 5}.avro"]]
        assert len({partition for partition, key, _ in found if key == b"ZTF%d" % number}) == 1


def test_the_mock_cluster_is_fed_too(mock_kafka, topic_name, packets, tmp_path):
    topic = topic_name("feed")
    result = feed(mock_kafka, topic, "--limit", "4", "--rate", "50", "--no-key", tmp_path / "packets")
    assert (result.returncode, result.stdout) == (0, "4 sent, 0 failed, 0 unreadable\n"), result.stderr
    assert {key for _, key, _ in messages_of(mock_kafka, topic, 4)} == {None}


def test_a_packet_as_large_as_they_come_gets_through(kafka_address, topic_name, tmp_path):
    topic = topic_name("large")
    (tmp_path / "large.avro").write_bytes(bytes(LARGE))
    result = feed(kafka_address, topic, tmp_path / "large.avro")
    assert (result.returncode, result.stdout) == (0, "1 sent, 0 failed, 0 unreadable\n"), result.stderr


def test_one_that_no_broker_takes_is_told_and_stops_nothing(kafka_address, topic_name, packets, tmp_path):
    topic = topic_name("too-large")
    (tmp_path / "packets" / "0.avro").write_bytes(bytes(11 << 20))
    result = feed(kafka_address, topic, tmp_path / "packets")
    assert (result.returncode, result.stdout) == (1, "10 sent, 1 failed, 0 unreadable\n")
    assert "0.avro" in result.stderr
    assert "too large" in result.stderr


def test_a_damaged_archive_is_told(kafka_address, topic_name, packets, tmp_path):
    archive = tmp_path / "night.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-30])
    result = feed(kafka_address, topic_name("archive"), archive)
    assert result.returncode == 1
    assert "night.tar.gz" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", ["[]", "{", '{"no.such.option": 1}'])
def test_wrong_configurations_are_told(content, mock_kafka, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(content)
    result = feed(mock_kafka, "topic", "--config", config, tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("feed.py: ")


def test_configurations_reach_the_producer(kafka, topic_name, packets, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(kafka.scram_tls))
    result = feed("127.0.0.1:9", topic_name("scram"), "--config", config, tmp_path / "night.tar.gz")
    assert (result.returncode, result.stdout) == (0, "1 sent, 0 failed, 0 unreadable\n"), result.stderr


def test_topics_are_made_once_and_never_changed(kafka_address, topic_name):
    first, second = topic_name("first"), topic_name("second")
    result = make_topics(kafka_address, first)
    assert (result.returncode, result.stdout) == (0, f"{first}: made, with 3 partitions\n"), result.stderr
    result = make_topics(kafka_address, first, second, partitions=5)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == sorted(
        [f"{first}: there already, with 3 partitions, not 5", f"{second}: made, with 5 partitions"]
    )
    topics = AdminClient({"bootstrap.servers": kafka_address}).list_topics(timeout=20).topics
    assert [len(topics[name].partitions) for name in (first, second)] == [3, 5]


def test_topics_that_cannot_be_made_are_told(kafka_address, topic_name):
    good = topic_name("good")
    result = make_topics(kafka_address, good, "no good")
    assert result.returncode == 1
    assert f"{good}: made" in result.stdout
    assert result.stderr.startswith("no good: ")


def test_the_sample_leaves_a_catalogue_alone(mock_kafka, topic_name, packets, tmp_path):
    mine = tmp_path / "catalogs" / "allwise"
    mine.mkdir(parents=True)
    # The demonstration is the test above; here it gives packets, and every other verb fails.
    program = tmp_path / "bin" / "xmatch-hats"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = demo ] && mkdir -p "$3" && cp -r "{tmp_path}/packets" "$3/packets"\n')
    program.chmod(0o755)
    environment = {
        "PATH": f"{program.parent}:{BIN}:{os.environ['PATH']}",
        "XMATCH_HATS_CATALOGS": str(mine.parent),
        "CONSUMER_SERVER": mock_kafka,
        "CONSUMER_TOPICS": topic_name("sample"),
    }
    result = run(script("sample.sh"), env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "11 sent" in result.stdout
    assert list(mine.iterdir()) == []
    mine.rmdir()
    assert run(script("sample.sh"), env=environment).returncode != 0
