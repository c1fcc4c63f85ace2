"""Writer schemas from a schema registry that speaks Confluent's protocol."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from xmatch_hats.alerts.registry import (
    ChainedSchemas,
    FolderSchemas,
    NoSchemas,
    SchemaSource,
    unknown_fingerprint,
    unknown_number,
)
from xmatch_hats.errors import ConfigError, PacketError, RegistryError

CALL_SECONDS = 10.0
"""Within these a registry has answered, or has failed."""
UNKNOWN_SECONDS = 30.0
"""For so long a schema that a registry did not know is not asked for again: messages of one come in thousands."""
_LARGEST_NUMBER = 2**31 - 1
_NOT_FOUND = range(40401, 40500)
"""The registry's own codes for what it does not have; a wrong address answers 404 too, but with none of these."""
_NONSENSE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_CACHED_ANSWERS = 256
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class _Answer:
    text: bytes | None
    """None for a schema that the registry does not have."""
    fault: str = ""
    """Why the schema cannot be used, if it cannot."""
    until: float | None = None
    """Monotonic seconds after which it is asked for anew; None for never, since a number's schema never changes."""


class RegistrySchemas:
    """A schema registry, asked over HTTP and remembered.

    Certificates of https are checked against ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` where the environment has them.
    Memory: 256 schemas, and the numbers of 256 unknown ones.

    Parameters
    ----------
    url : str
        Address, or several of one registry with commas between them; ``user:password@`` before the first host is
        given to it, and is masked in every text.
    unknown_s : float, optional
        Seconds for which the registry is not asked again for what it did not have.

    Raises
    ------
    ConfigError
        The address is none, or the certificates cannot be read.
    """

    def __init__(self, url: str, unknown_s: float = UNKNOWN_SECONDS) -> None:
        parts = [_split(part.strip()) for part in url.split(",")]
        hosts = [part.netloc.rpartition("@")[2] for part in parts]
        bare = [part._replace(netloc=host).geturl() for part, host in zip(parts, hosts, strict=True)]
        masked = [
            part._replace(netloc=f"***@{host}" if "@" in part.netloc else host).geturl()
            for part, host in zip(parts, hosts, strict=True)
        ]
        self.name = ", ".join(masked)
        """The address with its password masked."""
        self._settings: dict[str, Any] = {
            "url": ",".join(bare),
            # Two attempts at each address, together within what a call may take.
            "timeout": 0.45 * CALL_SECONDS / len(parts),
            "max.retries": 1,
            "retries.wait.ms": 200,
        }
        if parts[0].username is not None:
            # Apart from the address, which the client's HTTP library writes into logs.
            user = (unquote(parts[0].username), unquote(parts[0].password or ""))
            self._settings["basic.auth.user.info"] = ":".join(user)
        self._unknown_s = unknown_s
        self._known: OrderedDict[int, _Answer] = OrderedDict()
        self._unknown: OrderedDict[int, _Answer] = OrderedDict()
        self._open()

    def _open(self) -> None:
        # Imported where it is used: a third of a second that whoever has no registry need not wait for.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        try:
            self._client = SchemaRegistryClient(dict(self._settings))
        except OSError as error:
            raise ConfigError(f"certificates cannot be read: {error}", place="SSL_CERT_FILE, SSL_CERT_DIR") from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def schema(self, number: int) -> bytes:
        """Give a schema, remembered or asked for.

        Raises
        ------
        UnknownSchemaError
            The registry does not have it, or did not lately.
        PacketError
            It is not Avro, or refers to other schemas.
        RegistryError
            The registry cannot be reached, refuses, or answers nonsense.
        """
        unknown = unknown_number(number, f"register it at {self.name}")
        if not 0 < number <= _LARGEST_NUMBER:
            raise unknown
        answer = self._known.get(number) or self._unknown.get(number)
        if answer is None or (answer.until is not None and answer.until <= time.monotonic()):
            answer = self._ask(number)
            self._remember(number, answer)
        if answer.fault:
            raise PacketError(answer.fault, place=f"schema id {number}")
        if answer.text is None:
            raise unknown
        return answer.text

    def by_fingerprint(self, fingerprint: bytes) -> bytes:
        """Know none: registries have no fingerprints of this kind."""
        raise unknown_fingerprint(fingerprint, "")

    def _remember(self, number: int, answer: _Answer) -> None:
        # Apart from each other, so that a flood of what is unknown does not push out what is known.
        book, other = (self._known, self._unknown) if answer.until is None else (self._unknown, self._known)
        other.pop(number, None)
        book[number] = answer
        if len(book) > _CACHED_ANSWERS:
            book.popitem(last=False)

    def _ask(self, number: int) -> _Answer:
        call = _in_thread(partial(self._client.get_schema, number))
        try:
            fault = call.exception(CALL_SECONDS)
        except TimeoutError as error:
            # The thread is left to its connection, which goes with the client.
            self.close()
            self._open()
            raise RegistryError(f"has not answered within {CALL_SECONDS:g} s", place=self.name) from error
        # The client keeps all that it was ever told; what is remembered here is bounded.
        self._client.clear_caches()
        if fault is None:
            return self._judge(call.result())
        return self._judge_fault(fault)

    def _judge(self, schema: Any) -> _Answer:
        if not isinstance(schema.schema_str, str):
            raise RegistryError("answers without a schema", place=self.name)
        if schema.schema_type not in (None, "AVRO"):
            return _Answer(None, f"is of type {str(schema.schema_type)[:20]}, not Avro")
        if schema.references:
            return _Answer(None, "refers to other schemas, which is not supported")
        # What is no text is no JSON either: refused with the packet.
        return _Answer(schema.schema_str.encode("utf-8", "surrogatepass"))

    def _judge_fault(self, fault: BaseException) -> _Answer:
        status = getattr(fault, "http_status_code", None)
        if status is not None:
            if status == 404 and getattr(fault, "error_code", None) in _NOT_FOUND:
                return _Answer(None, until=time.monotonic() + self._unknown_s)
            reason = f"answers HTTP {status}: {getattr(fault, 'error_message', '')}"
            hint = "check SCHEMA_REGISTRY_URL and the password in it" if status in (401, 403, 404) else ""
        elif isinstance(fault, _NONSENSE):
            reason, hint = f"answers what no schema registry does: {fault or type(fault).__name__}", ""
        else:
            reason, hint = f"cannot be reached: {fault or type(fault).__name__}", ""
        raise RegistryError(reason[:_MAX_TEXT], place=self.name, hint=hint) from fault


def _in_thread(call: Callable[[], Any]) -> Future[Any]:
    # The HTTP library bounds the silence between two bytes, not the whole call. The thread holds up no exit.
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001, whoever waits for the result judges it
            future.set_exception(error)

    Thread(target=run, name="schema-registry", daemon=True).start()
    return future


def open_schemas(folder: Path | None, url: str | None) -> SchemaSource:
    """Open what is set of the two; the folder is asked first.

    Raises
    ------
    ConfigError
        There is no such folder, or the address is none.
    """
    sources: list[SchemaSource] = []
    if folder is not None:
        sources.append(FolderSchemas(folder))
    if url is not None:
        sources.append(RegistrySchemas(url))
    return ChainedSchemas(sources) if sources else NoSchemas()


def _split(url: str) -> SplitResult:
    problem = ConfigError(
        "is not an http or https address",
        place="SCHEMA_REGISTRY_URL",
        hint="give http://HOST:PORT, with user:password@ before the host if need be",
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise problem from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise problem
    return parts
