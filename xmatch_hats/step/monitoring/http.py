"""The small server beside the loop: ``/metrics`` for Prometheus, ``/live`` and ``/ready`` for whoever runs the step."""

from __future__ import annotations

import errno
import json
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from xmatch_hats.errors import ConfigError
from xmatch_hats.step.monitoring.health import Health
from xmatch_hats.step.monitoring.logs import Mask
from xmatch_hats.step.monitoring.metrics import StepMetrics

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
CLIENT_SECONDS = 5.0
"""How long one read from a client, or one write to it, may take."""
MAX_CONNECTIONS = 32
"""With one more the oldest is hung up, so that slow clients never keep a probe out."""

Page = tuple[int, str, bytes]
"""Status, content type, body."""


class HttpServer:
    """Answers questions about a step; it never touches the loop.

    Parameters
    ----------
    host : str
        Address to listen on; empty is loopback.
    port : int
        0 is any free one.
    health : Health
    metrics : StepMetrics
    secrets : sequence of str, optional
        Shown as ``***`` where a reason should hold one.
    """

    def __init__(
        self, host: str, port: int, health: Health, metrics: StepMetrics, *, secrets: Sequence[str] = ()
    ) -> None:
        self._address = (host or LOOPBACK, port)
        mask = Mask(secrets)
        self._pages: dict[str, Callable[[], Page]] = {
            "/": _index,
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)),
            "/live": lambda: _verdict(*health.live(), mask),
            "/ready": lambda: _verdict(*health.ready(), mask),
        }
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port that it listens on, or will be asked for."""
        return self._server.server_port if self._server else self._address[1]

    def start(self) -> None:
        """Listen, and answer in a thread that ends with the program.

        Raises
        ------
        ConfigError
            The port or the address cannot be had.
        """
        host, port = self._address
        try:
            self._server = _Server(self._address, self._pages)
        except OverflowError as error:
            raise ConfigError("a port is at most 65535", place="HTTP_PORT", value=port) from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = "choose another, or 0 for any free one"
                raise ConfigError(f"port {port} is in use", place="HTTP_PORT", hint=hint, value=port) from error
            place = "HTTP_PORT" if error.errno == errno.EACCES else "HTTP_HOST"
            fault = f"cannot listen on {host} port {port}: {error.strerror or error}"
            raise ConfigError(fault, place=place, value=self._address) from error
        Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True).start()
        logger.info("listening on %s port %d", host, self.port)

    def close(self) -> None:
        """Stop listening, and hang up."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.hang_up()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], pages: dict[str, Callable[[], Page]]) -> None:
        self.pages = pages
        self._connections: dict[socket.socket, None] = {}  # the oldest first
        self._lock = Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The parent's asks the name service for a name that nobody needs, and may wait long for it.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            oldest = next(iter(self._connections)) if len(self._connections) >= MAX_CONNECTIONS else None
            if oldest is not None:
                _hang_up(oldest)
                del self._connections[oldest]
            self._connections[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002, the parent's signature
        # Clients that leave early are no news; the parent would print a traceback for each.
        logger.debug("a request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "xmatch_hats"
    sys_version = ""
    timeout = CLIENT_SECONDS

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        page = self.server.pages.get(self.path.partition("?")[0], _not_found)
        status, content_type, body = page()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""


def _index() -> Page:
    return 200, "text/plain; charset=utf-8", b"xmatch_hats: /metrics /live /ready\n"


def _not_found() -> Page:
    return _json(404, {"error": "there is /metrics, /live and /ready"})


def _verdict(good: bool, body: dict[str, Any], mask: Mask) -> Page:
    return _json(200 if good else 503, mask.value(body))


def _json(status: int, body: dict[str, Any]) -> Page:
    return status, "application/json", json.dumps(body).encode() + b"\n"


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
