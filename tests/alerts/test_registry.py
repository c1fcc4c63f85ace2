from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.makers import SMALL_SCHEMA, small_alert
from tests.alerts.messages import bare, single, wire
from xmatch_hats.alerts import registry_client
from xmatch_hats.alerts.framing import MessageReader
from xmatch_hats.alerts.limits import FILE_LIMITS, MESSAGE_LIMITS
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.registry import ChainedSchemas, FolderSchemas, NoSchemas
from xmatch_hats.alerts.registry_client import RegistrySchemas, open_schemas
from xmatch_hats.errors import ConfigError, PacketError, RegistryError, SystemFailure, UnknownSchemaError

SMALL_TEXT = json.dumps(SMALL_SCHEMA).encode()
BODY = bare(small_alert(), SMALL_SCHEMA)
FINGERPRINT = single(SMALL_SCHEMA, b"")[2:]
SECRET = "pass/word"


class Registry:
    """A schema registry over HTTP, as far as reading schemas goes, which can be made to fail."""

    def __init__(self) -> None:
        self.schemas: dict[int, dict[str, Any]] = {7: {"schema": SMALL_TEXT.decode()}}
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        self.misbehave: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.released = threading.Event()
        """Set to let go of calls that hang."""
        self._start(0)

    def _start(self, port: int) -> None:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                registry.authorizations.append(self.headers["Authorization"])
                if registry.misbehave is not None:
                    registry.misbehave(self)
                    return
                name = self.path.removeprefix("/schemas/ids/")
                if name == self.path:
                    answer(self, 404, {"error_code": 404, "message": "HTTP 404 Not Found"})
                elif int(name) in registry.schemas:
                    answer(self, 200, registry.schemas[int(name)])
                else:
                    answer(self, 404, {"error_code": 40403, "message": f"Schema {name} not found"})

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def start_again(self) -> None:
        self._start(self.server.server_port)


def answer(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
    handler.send_header("Content-Length", str(len(payload)))
    handler.end_headers()
    handler.wfile.write(payload)


@pytest.fixture
def registry(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    # The hanging cases take what a call may take.
    monkeypatch.setattr(registry_client, "CALL_SECONDS", 1.5)
    registry = Registry()
    yield registry
    registry.stop()


@pytest.fixture
def schemas(registry):
    schemas = RegistrySchemas(f"http://{registry.address}")
    yield schemas
    schemas.close()


def test_a_schema_is_asked_for_once(registry, schemas):
    reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS), schemas)
    for _ in range(50):
        assert reader.read(wire(7, BODY)).alerts[0].object_id == "ZTF0"
    assert registry.asked == ["/schemas/ids/7"]
    # It outlives the registry.
    registry.stop()
    assert schemas.schema(7) == SMALL_TEXT


def test_an_unknown_schema_is_asked_for_once_in_a_while(registry):
    reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS), RegistrySchemas(f"http://{registry.address}/"))
    for number in (8, 9) * 20:
        with pytest.raises(UnknownSchemaError, match=f"^unknown schema id {number} .register it at http://127"):
            reader.read(wire(number, BODY))
    assert registry.asked == ["/schemas/ids/8", "/schemas/ids/9"]
    impatient = RegistrySchemas(f"http://{registry.address}", unknown_s=0)
    with pytest.raises(UnknownSchemaError):
        impatient.schema(8)
    registry.schemas[8] = registry.schemas[7]
    assert impatient.schema(8) == SMALL_TEXT


def test_numbers_that_no_registry_gives_are_not_asked_for(registry, schemas):
    for number in (0, -1, 2**31, 2**32 - 1):
        with pytest.raises(UnknownSchemaError, match=f"unknown schema id {number}"):
            schemas.schema(number)
    with pytest.raises(UnknownSchemaError, match="unknown schema fingerprint"):
        schemas.by_fingerprint(FINGERPRINT)
    assert registry.asked == []


def test_memory_of_answers_is_bounded(registry, monkeypatch):
    monkeypatch.setattr(registry_client, "_CACHED_ANSWERS", 2)
    schemas = RegistrySchemas(f"http://{registry.address}")
    registry.schemas |= dict.fromkeys(range(10, 13), registry.schemas[7])
    for number in (10, 11, 12):
        assert schemas.schema(number) == SMALL_TEXT
    for number in range(20, 30):
        with pytest.raises(UnknownSchemaError):
            schemas.schema(number)
    before = len(registry.asked)
    assert schemas.schema(12) == schemas.schema(11) == SMALL_TEXT
    assert len(registry.asked) == before
    assert schemas.schema(10) == SMALL_TEXT
    assert len(registry.asked) == before + 1


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"}, "^schema id 5: is of type PROTOBUF, not Avro"),
        ({"schema": "{}", "schemaType": "JSON"}, "^schema id 5: is of type JSON, not Avro"),
        (
            {"schema": SMALL_TEXT.decode(), "references": [{"name": "a", "subject": "b", "version": 1}]},
            "^schema id 5: refers to other schemas",
        ),
        ({"schema": '"string"'}, "^schema id 5: the writer schema is not a record"),
        ({"schema": "\ud800"}, "^schema id 5: the writer schema is not JSON"),
        ({"schema": "nonsense", "schemaType": "AVRO"}, "^schema id 5: the writer schema is not JSON"),
    ],
)
def test_schemas_that_are_of_no_use_are_held_against_the_packet(registry, schemas, entry, message):
    registry.schemas[5] = entry
    reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS), schemas)
    for _ in range(3):
        with pytest.raises(PacketError, match=message):
            reader.read(wire(5, BODY))
    assert reader.read(wire(7, BODY)).alerts
    assert registry.asked == ["/schemas/ids/5", "/schemas/ids/7"]


def drip(registry: Registry) -> Callable[[BaseHTTPRequestHandler], None]:
    """Never silent for long, never done."""

    def misbehave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        try:
            while not registry.released.wait(0.1):
                handler.wfile.write(b" ")
        except OSError:
            # The other side has had enough.
            handler.close_connection = True

    return misbehave


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()


FAILURES: dict[str, tuple[Callable[[Registry], Callable[[BaseHTTPRequestHandler], Any]], str]] = {
    "500": (
        lambda registry: lambda handler: answer(handler, 500, {"error_code": 50001, "message": "no store"}),
        "answers HTTP 500: no store",
    ),
    "503 of a proxy": (
        lambda registry: lambda handler: answer(handler, 503, b"<html>Service Unavailable" + b"x" * 10_000),
        "answers HTTP 503.*Service Unavailable",
    ),
    "401": (
        lambda registry: lambda handler: answer(handler, 401, {"error_code": 401, "message": "Unauthorized"}),
        "answers HTTP 401: Unauthorized .check SCHEMA_REGISTRY_URL and the password",
    ),
    "404 of another server": (
        lambda registry: lambda handler: answer(handler, 404, b"<html>Not Found</html>"),
        "answers HTTP 404.*Not Found.*check SCHEMA_REGISTRY_URL",
    ),
    "404 of another path": (
        lambda registry: lambda handler: answer(handler, 404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        "answers HTTP 404: HTTP 404 Not Found",
    ),
    "redirection": (lambda registry: lambda handler: answer(handler, 302, b""), "answers HTTP 302"),
    "no JSON": (lambda registry: lambda handler: answer(handler, 200, b"<html>"), "answers what no schema registry"),
    "deep JSON": (
        lambda registry: lambda handler: answer(handler, 200, b"[" * 200_000),
        "answers what no schema registry",
    ),
    "nothing": (lambda registry: lambda handler: answer(handler, 200, b""), "answers what no schema registry"),
    "a list": (lambda registry: lambda handler: answer(handler, 200, [1]), "answers what no schema registry"),
    "no schema": (lambda registry: lambda handler: answer(handler, 200, {}), "answers without a schema"),
    "a number": (lambda registry: lambda handler: answer(handler, 200, {"schema": 5}), "answers without a schema"),
    "references of nothing": (
        lambda registry: lambda handler: answer(handler, 200, {"schema": "{}", "references": [1]}),
        "answers what no schema registry",
    ),
    "hangs up": (lambda registry: hang_up, "cannot be reached"),
    "silent": (lambda registry: lambda handler: registry.released.wait(30), "cannot be reached|has not answered"),
    "drips": (drip, "has not answered within 1.5 s"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_registry_that_fails_is_waited_for(name, registry, schemas):
    misbehave, message = FAILURES[name]
    reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS), schemas)
    registry.misbehave = misbehave(registry)
    for _ in range(2):
        with pytest.raises(RegistryError, match=message) as caught:
            reader.read(wire(7, BODY))
        assert isinstance(caught.value, SystemFailure)
        assert not isinstance(caught.value, PacketError)
        assert caught.value.place == f"http://{registry.address}"
        assert len(str(caught.value)) < 400
    # Nothing of it is remembered.
    registry.misbehave = None
    registry.released.set()
    assert reader.read(wire(7, BODY)).alerts[0].object_id == "ZTF0"
    with pytest.raises(UnknownSchemaError):
        reader.read(wire(8, BODY))


def test_a_registry_that_stops_and_starts_again(registry, schemas):
    assert schemas.schema(7) == SMALL_TEXT
    registry.stop()
    registry.schemas[9] = registry.schemas[7]
    with pytest.raises(RegistryError, match="cannot be reached"):
        schemas.schema(9)
    registry.start_again()
    assert schemas.schema(9) == SMALL_TEXT


def test_one_of_several_addresses_is_enough(registry):
    schemas = RegistrySchemas(f"http://127.0.0.1:9, http://{registry.address}")
    assert schemas.schema(7) == SMALL_TEXT
    assert schemas.name == f"http://127.0.0.1:9, http://{registry.address}"


def test_passwords_are_given_and_never_told(registry, caplog):
    caplog.set_level(logging.DEBUG)
    schemas = RegistrySchemas(f"http://reader:pass%2Fword@{registry.address}")
    assert schemas.schema(7) == SMALL_TEXT
    expected = base64.b64encode(f"reader:{SECRET}".encode()).decode()
    assert registry.authorizations == [f"Basic {expected}"]
    texts = [schemas.name]
    with pytest.raises(UnknownSchemaError) as unknown:
        schemas.schema(8)
    registry.misbehave = lambda handler: answer(handler, 401, {"error_code": 401, "message": "Unauthorized"})
    with pytest.raises(RegistryError) as refused:
        schemas.schema(9)
    registry.stop()
    with pytest.raises(RegistryError) as unreachable:
        schemas.schema(9)
    texts += [str(unknown.value), str(refused.value), str(unreachable.value), caplog.text]
    assert all(f"http://***@{registry.address}" in text for text in texts[:-1])
    for text in texts:
        for secret in ("reader", SECRET, "pass%2Fword", expected):
            assert secret not in text


@pytest.mark.parametrize(
    "url", ["", "nonsense", "localhost:8081", "ftp://host", "http://", "http://u:secret@host:port", "http://a,secret"]
)
def test_addresses_that_are_none_are_refused_at_once(url):
    with pytest.raises(ConfigError, match="SCHEMA_REGISTRY_URL: is not an http or https address") as caught:
        RegistrySchemas(url)
    assert "secret" not in str(caught.value)


def test_certificates_that_are_not_there_are_refused_at_once(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    with pytest.raises(ConfigError, match="certificates cannot be read"):
        RegistrySchemas("https://localhost:8081")


def test_a_folder_of_schemas(tmp_path):
    folder = FolderSchemas(tmp_path)
    with pytest.raises(UnknownSchemaError, match=rf"unknown schema id 7 \(put 7.avsc into {tmp_path}"):
        folder.schema(7)
    (tmp_path / "7.json").write_bytes(SMALL_TEXT)
    assert folder.schema(7) == SMALL_TEXT
    # What makes a plan of it finds the plan by this object's hash.
    assert folder.schema(7) is folder.schema(7)
    assert folder.by_fingerprint(FINGERPRINT) == SMALL_TEXT
    replace(tmp_path / "7.json", b"another")
    assert folder.schema(7) == b"another"
    (tmp_path / "7.json").unlink()
    for ask in (lambda: folder.schema(7), lambda: folder.by_fingerprint(FINGERPRINT)):
        with pytest.raises(UnknownSchemaError):
            ask()


def replace(path: Path, text: bytes) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(text)
    aside.rename(path)


def test_bad_files_in_a_folder_harm_nobody_else(tmp_path):
    files = {
        "1.avsc": b"",
        "2.avsc": b"\xff\xfe",
        "3.avsc": json.dumps(SMALL_SCHEMA | {"name": "\ud800"}).encode(),
        "4.avsc": b" " * (FILE_LIMITS.schema_bytes + 100),
        "5.avsc": b'{"type": "record", "name": "a", "fields": [{"name": "f", "type": "a"}]}',
        "notes.txt": SMALL_TEXT,
        "z.avsc": SMALL_TEXT,
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    reader = MessageReader(PacketReader(limits=MESSAGE_LIMITS), FolderSchemas(tmp_path))
    for number in (1, 2, 4, 5):
        with pytest.raises(PacketError, match=f"schema id {number}: the writer schema"):
            reader.read(wire(number, BODY))
    assert reader.read(b"\xc3\x01" + FINGERPRINT + BODY).alerts[0].object_id == "ZTF0"
    with pytest.raises(UnknownSchemaError):
        reader.read(wire(6, BODY))


def test_a_folder_that_cannot_be_read_is_waited_for(tmp_path):
    with pytest.raises(ConfigError, match=r"SCHEMA_DIR .*: is not a folder"):
        FolderSchemas(tmp_path / "none")
    home = tmp_path / "schemas"
    home.mkdir()
    (home / "7.avsc").write_bytes(SMALL_TEXT)
    folder = FolderSchemas(home)
    assert folder.schema(7) == SMALL_TEXT
    home.rename(tmp_path / "away")
    for ask in (lambda: folder.schema(7), lambda: folder.by_fingerprint(FINGERPRINT)):
        with pytest.raises(RegistryError, match=r"SCHEMA_DIR .*: (is not there any more|cannot be read)"):
            ask()
    (tmp_path / "away").rename(home)
    assert folder.schema(7) == folder.by_fingerprint(FINGERPRINT) == SMALL_TEXT
    (home / "8.avsc").mkdir()
    with pytest.raises(RegistryError, match=r"8.avsc: cannot be read: Is a directory"):
        folder.schema(8)


def test_a_folder_is_asked_before_a_registry(tmp_path, registry):
    (tmp_path / "7.avsc").write_bytes(b"of the folder")
    registry.schemas[8] = registry.schemas[7]
    both = open_schemas(tmp_path, f"http://{registry.address}")
    assert isinstance(both, ChainedSchemas)
    assert both.schema(7) == b"of the folder"
    assert both.schema(8) == SMALL_TEXT
    with pytest.raises(UnknownSchemaError) as caught:
        both.schema(9)
    assert str(caught.value) == (
        f"unknown schema id 9 (put 9.avsc into {tmp_path}, or register it at http://{registry.address})"
    )
    with pytest.raises(UnknownSchemaError) as caught:
        both.by_fingerprint(FINGERPRINT)
    assert str(caught.value) == (f"unknown schema fingerprint {FINGERPRINT.hex()} (put its schema into {tmp_path})")
    (tmp_path / "of-fingerprint.avsc").write_bytes(SMALL_TEXT)
    assert both.by_fingerprint(FINGERPRINT) == SMALL_TEXT
    registry.stop()
    # Known to the folder alone it needs no registry; unknown to it, it has to wait.
    assert both.schema(7) == b"of the folder"
    with pytest.raises(RegistryError):
        both.schema(10)
    assert isinstance(open_schemas(None, None), NoSchemas)
