"""Logs of a running step: one record a line on the error output, without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from numbers import Integral, Real
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

from xmatch_hats.errors import ConfigError
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.step.monitoring.metrics_message import elapsed_seconds
from xmatch_hats.step.report import BatchReport

logger = logging.getLogger(__name__)

OWN = "xmatch_hats"
FORMATS = ("json", "text")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
HIDDEN = "***"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has; what else one has are fields that somebody added."""


class Mask:
    """Replaces secrets by ``***``.

    Parameters
    ----------
    secrets : sequence of str
        Empty ones are passed over.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        # The longest first: one secret may begin with another.
        ordered = sorted(spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """Replace the secrets in a text."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def value(self, value: object) -> Any:
        """Replace the secrets in a value, and make it one that JSON has a form for."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Integral):
            return int(value)
        if isinstance(value, Real):
            number = float(value)
            return number if abs(number) < float("inf") else str(number)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, Iterable) and not isinstance(value, str | bytes):
            return [self.value(item) for item in value]
        return self.text(str(value))


def _spellings(secret: str) -> set[str]:
    """Tell how a secret may be written in a message, a representation, a JSON text or an address."""
    return {
        secret,
        repr(secret)[1:-1],
        repr(secret.encode())[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote_plus(secret),
        *(quote(secret, safe=safe) for safe in ("", "/", " +")),
    }


class _Lines(logging.Formatter):
    """What both forms of a line are made of, masked."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def _message(self, record: logging.LogRecord) -> str:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # Arguments that do not fit their message are the caller's fault, and no reason to lose either.
            message = f"{record.msg} {record.args!r}"
        return self._mask.text(message)

    def _added(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        masked: dict[str, Any] = self._mask.value(fields)
        return masked

    def _traces(self, record: logging.LogRecord) -> str:
        traces = [self.formatException(record.exc_info)] if record.exc_info else []
        traces += [self.formatStack(record.stack_info)] if record.stack_info else []
        return self._mask.text("\n".join(traces))


class _JsonLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "ts": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "msg": self._message(record),
        }
        if traces := self._traces(record):
            fields["exc"] = traces
        for name, value in self._added(record).items():
            fields[name if name not in fields else f"{name}_"] = value
        return json.dumps(fields)


class _TextLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        added = [f"{name}={_shown(value)}" for name, value in self._added(record).items()]
        line = " ".join([_time(record), f"{record.levelname:<7}", f"{record.name}:", self._message(record), *added])
        traces = [printable(trace) for trace in self._traces(record).splitlines()]
        return "\n".join([printable(line), *traces])


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """Keep a text on its line: whatever would move a terminal's cursor or colour it becomes a space."""
    return "".join(character if character.isprintable() else " " for character in text)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


class _StepHandler(logging.Handler):
    """Writes lines on the error output of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001, a log must not stop what it tells of
            # Python's own report of this would show the record's arguments, secrets among them.
            fault = "a record that cannot be shown"
            line = json.dumps({"ts": _time(record), "level": record.levelname, "logger": record.name, "msg": fault})
        # A log that nobody can read any more must not stop the stream.
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _is_shown(record: logging.LogRecord) -> bool:
    """Let other libraries' warnings pass, and not their chatter."""
    return record.levelno >= logging.WARNING or record.name == OWN or record.name.startswith(f"{OWN}.")


def set_up_logs(format: str | None, level: str, *, secrets: Sequence[str] = ()) -> None:
    """Set up the logging of this process, which is a step's; a second call takes the first one's place.

    This package's records are shown from a level on, those of other libraries from warnings on. Python's warnings and
    exceptions that nobody catches become records, too.

    Parameters
    ----------
    format : {"json", "text"} or None
        A JSON object a line (``ts``, ``level``, ``logger``, ``msg``, ``exc``, and the fields that were added), or
        text. None is text on a terminal, else JSON.
    level : str
        ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL``, in any case.
    secrets : sequence of str, optional
        Shown as ``***`` wherever they occur: in messages, fields and tracebacks.

    Raises
    ------
    ConfigError
        There is no such format or level.
    """
    chosen = format or ("text" if sys.stderr.isatty() else "json")
    if chosen not in FORMATS:
        raise ConfigError(f"no such format of logs: {format!r}", place="LOG_FORMAT", hint="json or text", value=format)
    if level.upper() not in LEVELS:
        hint = f"one of {', '.join(LEVELS)}"
        raise ConfigError(f"no such level of logs: {level!r}", place="LOG_LEVEL", hint=hint, value=level)
    handler = _StepHandler()
    handler.setFormatter((_JsonLines if chosen == "json" else _TextLines)(Mask(secrets)))
    handler.addFilter(_is_shown)
    _take_over(handler)
    own = logging.getLogger(OWN)
    own.setLevel(level.upper())
    own.propagate = True
    logging.captureWarnings(True)
    sys.excepthook = _tell_uncaught
    threading.excepthook = _tell_uncaught_in_thread


def _take_over(handler: logging.Handler) -> None:
    """Make a handler the only one that writes on the error output: others know no secrets, and have other forms."""
    import dask

    # Distributed gives loggers handlers and levels of its own when it is imported, unless it is told how.
    dask.config.set({"logging": {"version": 1, "incremental": True}})
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, _StepHandler) or getattr(old, "stream", None) in (sys.stderr, sys.stdout):
            root.removeHandler(old)
    for known in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(known, logging.Logger):
            known.handlers.clear()
            known.propagate = True
            known.setLevel(logging.NOTSET)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)


def _tell_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("stopped by a fault of this program", exc_info=(kind, error, trace))


def _tell_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread else "?"
        logger.critical(
            "thread %s ended by a fault", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
        )


def batch_line(report: BatchReport) -> dict[str, Any]:
    """Tell of a batch in the fields of one record: ``logger.info("batch done", extra=batch_line(report))``.

    Returns
    -------
    dict
        Counts of messages (``in``, ``out``, ``dead``, ``skipped``) and alerts (by status), ``seconds`` by stage,
        ``elapsed_seconds`` from the first message to the delivery, and the counts by partition, catalogue and error.
    """
    total = report.total
    statuses = {status.key: report.statuses.get(status.label, 0) for status in MatchStatus}
    return {
        "batch": report.number,
        "in": total.received,
        "out": total.out,
        "dead": total.dead,
        "skipped": total.skipped,
        **statuses,
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "elapsed_seconds": round(elapsed_seconds(report), 3),
        "seconds": {stage: round(seconds, 4) for stage, seconds in report.seconds.items()},
        "partitions": {partition: account.received for partition, account in report.accounts.items()},
        **{name: dict(counts) for name, counts in _details(report).items() if counts},
    }


def _details(report: BatchReport) -> dict[str, Mapping[str, Any]]:
    # One catalogue's counts are the batch's.
    catalogs = report.by_catalog if len(report.by_catalog) > 1 else {}
    return {"errors": report.dead, "lag": report.lag, "tables": report.tables, "catalogs": catalogs}
