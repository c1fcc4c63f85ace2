from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest

from tests.alerts.makers import SMALL_SCHEMA, pack, small_alert, unpack
from tests.alerts.messages import bare, wire
from tests.cli.conftest import Made
from tests.services.process import free_ports
from tests.services.topics import Message, end_offsets, produce, read_all
from tests.step.running import World
from tests.step.settings.world import environment
from xmatch_hats.cli.app import run
from xmatch_hats.step import dead_letters

LARGEST = 20_000
GOOD = 6


@pytest.fixture(autouse=True)
def _log_is_the_tests(monkeypatch):
    monkeypatch.setattr("xmatch_hats.step.monitoring.logs.set_up_logs", lambda *_, **__: None)


@pytest.fixture
def world(kafka_address, made: Made) -> World:
    return World.make(kafka_address, made.copy, partitions=1, largest=LARGEST)


@pytest.fixture
def call(world, capsys):
    """Call a verb of dead letters; gives its output."""

    def call(*arguments: str, code: int = 0, **changes: str | None) -> str:
        capsys.readouterr()
        with environment(world.environ(**changes)):
            assert run(["dead-letters", *arguments]) == code
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return out if code == 0 else err

    return call


def alert_at(made: Made, number: int) -> dict:
    """An alert on a source of the catalogue."""
    return small_alert(number, made.sky["ra"][number].as_py(), made.sky["dec"][number].as_py())


def poisoned(made: Made) -> list[Message]:
    """Good alerts, and four that cannot be used."""
    good = [Message(pack([alert_at(made, number)])) for number in range(GOOD)]
    large = alert_at(made, 8) | {"tags": ["x" * 2 * LARGEST]}
    bad = {
        "rubbish": b"<html>502</html>",
        "unregistered": wire(7, bare(alert_at(made, 7), SMALL_SCHEMA)),
        "no position": pack([small_alert(9, math.nan)]),
        "large": pack([large]),
    }
    return [*good[:3], *(Message(value, key.encode(), [("from", b"test")]) for key, value in bad.items()), *good[3:]]


def listed(text: str) -> dict[str, dict]:
    """Letters by key, the last of each."""
    return {letter["key"]: letter for letter in map(json.loads, text.splitlines())}


@pytest.mark.parametrize("delivery", ["at-least-once", "exactly-once"])
def test_letters_are_shown_saved_and_replayed(world, made, call, tmp_path, delivery):
    sent = poisoned(made)
    produce(world.address, world.topic, sent)
    total = world.run(DELIVERY=delivery)
    assert (total.received, total.out, total.dead) == (GOOD + 4, GOOD, 4)
    values = {message.key.decode(): message.value for message in sent if message.key}

    letters = listed(call("list", "--json", "--save", str(tmp_path / "letters")))
    assert {key: (letter["error"], letter["attempts"], letter["size"]) for key, letter in letters.items()} == {
        "rubbish": ("PacketError", 1, len(values["rubbish"])),
        "unregistered": ("UnknownSchemaError", 1, len(values["unregistered"])),
        "no position": ("PacketError", 1, len(values["no position"])),
        "large": ("TooLargeError", 1, len(values["large"])),
    }
    assert {key: letter["source"] for key, letter in letters.items()} == {
        key: f"{world.topic}[0] offset {3 + number}" for number, key in enumerate(values)
    }
    assert "unknown schema id 7" in letters["unregistered"]["message"]
    assert "HTML" in letters["rubbish"]["message"]
    assert letters["large"]["sha256"] == hashlib.sha256(values["large"]).hexdigest()
    saved = {path.read_bytes() for path in (tmp_path / "letters").iterdir()}
    assert saved == {value for key, value in values.items() if key != "large"}

    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "7.avsc").write_text(json.dumps(SMALL_SCHEMA))
    more = {"SCHEMA_DIR": str(tmp_path / "schemas"), "DELIVERY": delivery}
    assert call("replay", **more) == "4 dead letters: 1 went out, 3 are dead again, 0 skipped\n"
    again = listed(call("list", "--json"))
    assert {key: letter["attempts"] for key, letter in again.items()} == {
        "rubbish": 2, "unregistered": 1, "no position": 2, "large": 2,
    }  # fmt: skip
    for key in ("rubbish", "no position", "large"):
        first, second = letters[key], again[key]
        assert second["place"] != first["place"]
        assert [second[name] for name in ("source", "size", "sha256")] == [
            first[name] for name in ("source", "size", "sha256")
        ]
    assert call("replay", **more) == "3 dead letters: 0 went out, 3 are dead again, 0 skipped\n"

    came = {unpack(message.value)[0]["candid"]: message for message in read_all(world.address, world.out)}
    assert sorted(came) == [*range(GOOD), 7]
    assert len(read_all(world.address, world.out)) == GOOD + 1
    assert unpack(came[7].value)[0]["xmatches"]["allwise"]["AllWISE"] == made.designations[7]
    assert came[7].headers == (("from", b"test"), ("xmatch.status", b"matched"))
    assert end_offsets(world.address, world.topic) == {0: GOOD + 4}


def test_a_replay_does_not_shut_out_the_step_that_runs_beside_it(world, made, call, tmp_path):
    (tmp_path / "7.avsc").write_text(json.dumps(SMALL_SCHEMA))
    packet = pack([alert_at(made, 0)])
    with world.running(DELIVERY="exactly-once") as step:
        produce(world.address, world.topic, [wire(7, bare(alert_at(made, 7), SMALL_SCHEMA)), packet])
        step.until(lambda: step.batches >= 1, "the first batch")
        # The same settings, the port that the step listens on among them.
        port = str(step.settings.http_port)
        told = call("replay", DELIVERY="exactly-once", SCHEMA_DIR=str(tmp_path), HTTP_PORT=port)
        assert told == "1 dead letters: 1 went out, 0 are dead again, 0 skipped\n"
        batches = step.batches
        produce(world.address, world.topic, [packet])
        step.until(lambda: step.batches > batches, "another batch")
    assert "fenced" not in step.log.lower()
    assert [unpack(message.value)[0]["candid"] for message in read_all(world.address, world.out)] == [0, 7, 0]


def test_letters_are_shown_to_people(world, made, call):
    produce(world.address, world.topic, poisoned(made))
    world.run()
    lines = call("list").splitlines()
    assert len(lines) == 4
    assert lines[0] == (
        f"{world.topic}[0] offset 3  16 bytes  PacketError: looks like HTML or XML (readable are Avro containers, and "
        "single records behind a schema id or a schema fingerprint)"
    )
    assert call("list", "--limit", "2").splitlines() == lines[:2]
    assert call("replay") == "4 dead letters: 0 went out, 4 are dead again, 0 skipped\n"
    assert ", tried 2 times  PacketError: looks like HTML" in call("list").splitlines()[4]


def test_what_anybody_may_have_put_into_the_topic_is_shown_too(world, call):
    strange = [
        Message(None),
        Message(b"x", b"\xff", [("xmatch.dead.attempts", b"many"), ("xmatch.dead.time", b"9" * 30)]),
        Message(b"x", None, [("xmatch.source.topic", b"a\x1b[2Jb"), ("xmatch.error.message", b"\nc\rd")]),
        Message(None, None, [("xmatch.value.length", b"\xb2")]),
    ]
    produce(world.address, world.dead, strange)
    lines = call("list").splitlines()
    assert len(lines) == len(strange)
    assert lines[0] == "unknown  0 bytes  unknown: "
    assert all(line.isprintable() for line in lines)
    letters = [json.loads(line) for line in call("list", "--json").splitlines()]
    assert [letter["attempts"] for letter in letters] == [1, 1, 1, 1]
    assert letters[1]["dead"] is None


def test_a_topic_that_is_not_there_is_told_and_not_made(world, call):
    assert "there is no topic never-died" in call("list", code=2, DLQ_TOPIC="never-died")
    assert "there is no topic never-died" in call("list", code=2, DLQ_TOPIC="never-died")


def test_no_letters(world, call):
    assert call("list") == ""
    assert call("replay") == "0 dead letters: 0 went out, 0 are dead again, 0 skipped\n"


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"PRODUCER_SERVER": "closed"}, 1, "cannot be read"),
        ({"PRODUCER_CONF": '{"nonsense": 1}'}, 2, "PRODUCER_CONF (environment): librdkafka refuses it"),
        ({"PRODUCER_TOPIC": None}, 2, "PRODUCER_TOPIC"),
    ],
    ids=["down", "option", "missing"],
)
def test_what_is_wrong_is_told(world, call, monkeypatch, changes, code, words):
    monkeypatch.setattr(dead_letters, "_TIMEOUT", 1.0)
    closed = f"127.0.0.1:{free_ports(1)[0]}"
    changes = {name: closed if value == "closed" else value for name, value in changes.items()}
    assert words in call("list", code=code, **changes)


def test_letters_are_saved_into_a_new_folder_only(world, call, tmp_path):
    (tmp_path / "mine").write_text("")
    assert "exists already" in call("list", "--save", str(tmp_path), code=2)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["mine"]
