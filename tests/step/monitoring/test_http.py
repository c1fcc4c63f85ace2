from __future__ import annotations

import http.client
import json
import socket
from contextlib import ExitStack, closing

import pytest

from tests.step.monitoring.reports import make_report, parse, value_of
from xmatch_hats.errors import ConfigError
from xmatch_hats.step.monitoring.health import Health
from xmatch_hats.step.monitoring.http import LOOPBACK, MAX_CONNECTIONS, HttpServer, _Handler
from xmatch_hats.step.monitoring.metrics import StepMetrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(clock=clock)


@pytest.fixture
def metrics():
    return StepMetrics(["allwise"])


@pytest.fixture
def server(health, metrics):
    with HttpServer("", 0, health, metrics, secrets=['hun"ter2']) as server:
        yield server


def ask(server: HttpServer, path: str, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    with closing(http.client.HTTPConnection(LOOPBACK, server.port, timeout=30)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()


def test_metrics_are_what_prometheus_reads(server, metrics):
    metrics.batch(make_report())
    response, body = ask(server, "/metrics?any=thing")
    assert response.status == 200
    assert response.headers.get_content_type() == "text/plain"
    assert value_of(parse(body.decode()), "xmatch_hats_messages_in_total", partition="ztf[0]") == 6


def test_liveness_follows_the_loop(server, health, clock):
    health.beat("loop")
    response, body = ask(server, "/live")
    assert (response.status, json.loads(body)["live"]) == (200, True)
    clock.now += 31
    response, body = ask(server, "/live")
    assert (response.status, json.loads(body)["live"]) == (503, False)
    assert json.loads(body)["loop"] == {"seconds": 31, "limit": 30}


def test_readiness_follows_the_components(server, health):
    health.expect("joined")
    response, body = ask(server, "/ready")
    assert response.status == 503
    assert json.loads(body)["waiting_for"] == {"joined": "not yet"}
    health.set("joined", True)
    response, body = ask(server, "/ready")
    assert response.status == 200
    assert json.loads(body) == {"ready": True, "waiting_for": {}, "ok": ["joined"]}


def test_a_reason_shows_no_secret(server, health):
    health.set("database", False, 'postgresql://me:hun"ter2@db: refused, also as hun%22ter2')
    _, body = ask(server, "/ready")
    assert json.loads(body)["waiting_for"] == {"database": "postgresql://me:***@db: refused, also as ***"}


@pytest.mark.parametrize(
    ("path", "status"), [("/metrics", 200), ("/live", 200), ("/ready", 503), ("/", 200), ("/x", 404)]
)
def test_head_is_get_without_its_body(server, path, status):
    of_get, body = ask(server, path)
    of_head, nothing = ask(server, path, "HEAD")
    assert of_get.status == of_head.status == status
    assert body
    assert nothing == b""
    assert of_get.headers["Content-Type"] == of_head.headers["Content-Type"]
    assert int(of_get.headers["Content-Length"]) == len(body)
    if path != "/metrics":  # where time goes by between the two
        assert of_head.headers["Content-Length"] == of_get.headers["Content-Length"]


@pytest.mark.parametrize("path", ["/metrics/", "/livez", "//[", "/%2e%2e/etc", "*", "http://["])
def test_other_paths_are_not_found(server, path):
    with closing(socket.create_connection((LOOPBACK, server.port), timeout=30)) as raw:
        raw.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        response = http.client.HTTPResponse(raw)
        response.begin()
        assert response.status == 404
        assert "error" in json.loads(response.read())


def test_other_verbs_are_refused(server):
    assert ask(server, "/ready", "POST")[0].status == 501


def test_nothing_is_said_of_requests_nor_of_the_python_below(server, capfd):
    for path in ("/", "/x", "/live"):
        response, _ = ask(server, path)
        assert "ython" not in response.headers["Server"]
    with closing(socket.create_connection((LOOPBACK, server.port))) as raw:
        raw.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        while raw.recv(4096):
            pass
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_loopback_unless_told_otherwise(health, metrics):
    with HttpServer("", 0, health, metrics) as server:
        # Every address of 127.0.0.0/8 is this machine, and a server on all addresses would answer here.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", server.port), timeout=5)
        assert ask(server, "/")[0].status == 200
    with HttpServer("0.0.0.0", 0, health, metrics) as server:
        socket.create_connection(("127.0.0.2", server.port), timeout=5).close()


def test_an_ipv6_address(health, metrics):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with (
        HttpServer("::1", 0, health, metrics) as server,
        closing(http.client.HTTPConnection("::1", server.port, timeout=30)) as connection,
    ):
        connection.request("GET", "/live")
        assert connection.getresponse().status == 200


def test_a_port_in_use_is_a_wrong_setting(server, health, metrics):
    with pytest.raises(ConfigError, match=rf"^HTTP_PORT: port {server.port} is in use") as caught:
        HttpServer(LOOPBACK, server.port, health, metrics).start()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("host", "port", "setting"),
    [
        (LOOPBACK, 70_000, "HTTP_PORT"),
        ("192.0.2.1", 0, "HTTP_HOST"),  # kept for documentation: no machine has it
        ("no.such.host.invalid", 0, "HTTP_HOST"),
    ],
)
def test_addresses_that_cannot_be_had_are_wrong_settings(health, metrics, host, port, setting):
    with pytest.raises(ConfigError, match=rf"^{setting}: "):
        HttpServer(host, port, health, metrics).start()


def test_closing_frees_the_port_and_may_be_repeated(health, metrics):
    first = HttpServer(LOOPBACK, 0, health, metrics)
    first.close()
    first.start()
    port = first.port
    idle = socket.create_connection((LOOPBACK, port))
    first.close()
    first.close()
    with closing(idle), HttpServer(LOOPBACK, port, health, metrics) as second:
        assert second.port == port
        assert ask(second, "/")[0].status == 200


@pytest.fixture
def patient(monkeypatch):
    """A server whose own patience no slow machine outlasts."""
    monkeypatch.setattr(_Handler, "timeout", 600)


def test_silent_clients_are_hung_up(monkeypatch, server):
    monkeypatch.setattr(_Handler, "timeout", 0.1)
    with closing(socket.create_connection((LOOPBACK, server.port), timeout=30)) as silent:
        silent.sendall(b"GET /live HT")
        assert silent.recv(1) == b""


@pytest.mark.usefixtures("patient")
def test_slow_clients_block_nobody(server):
    with ExitStack() as stack:
        slow = [stack.enter_context(closing(socket.create_connection((LOOPBACK, server.port)))) for _ in range(10)]
        for connection in slow:
            connection.sendall(b"GET /metrics HT")
        assert ask(server, "/live")[0].status == 200
        slow[0].sendall(b"TP/1.0\r\n\r\n")
        assert slow[0].recv(12) == b"HTTP/1.0 200"


@pytest.mark.usefixtures("patient")
def test_of_too_many_clients_the_oldest_is_hung_up(server):
    with ExitStack() as stack:
        slow = []
        for _ in range(MAX_CONNECTIONS + 3):
            slow.append(stack.enter_context(closing(socket.create_connection((LOOPBACK, server.port)))))
            slow[-1].sendall(b"GET /live HT")
        assert ask(server, "/live")[0].status == 200
        for connection in slow[:4]:
            connection.settimeout(30)
            assert connection.recv(1) == b""
        slow[-1].sendall(b"TP/1.0\r\n\r\n")
        assert slow[-1].recv(12) == b"HTTP/1.0 200"
