"""From the text of an environment variable, or the native value of a TOML file, to the value of a setting.

Every parser takes what either source may hold, also a value that is parsed already, and raises `WrongValue`, which says
what the setting must be. None of them repeats the value in its message: whoever reports the fault knows the setting,
where its value came from, and whether it may be shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pydantic import BeforeValidator, SecretStr

MASK = "***"
WHOLE = object()
"""Stands for the whole value of a setting."""
_MAX_SHOWN = 80
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BASIC_DATE = 8
"""Digits of a date without separators; any other number of digits counts milliseconds."""


class WrongValue(ValueError):  # noqa: N818, it never leaves this package: users get a ConfigError
    """A value that a setting cannot have.

    Parameters
    ----------
    message : str
        What it must be, without the value.
    hint : str, optional
        The way out.
    part : object, optional
        The part of the value that is wrong; default the whole of it. None where showing it would not help.
    """

    def __init__(self, message: str, *, hint: str = "", part: object = WHOLE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.part = part

    def told(self, value: object, *, masked: bool = False) -> str:
        """Write the message with what is wrong, or its mask, behind it."""
        if self.part is None:
            return self.message
        return f"{self.message}, not {MASK if masked else shown(value if self.part is WHOLE else self.part)}"


def parsed(parser: Callable[[Any], Any]) -> BeforeValidator:
    """Make a parser a validator that lets None pass: a setting that is not set."""
    return BeforeValidator(lambda value: None if value is None else parser(value))


def without_userinfo(text: str) -> str:
    """Mask ``user:password`` of an address: whatever stands before its last ``@``."""
    head, at, rest = text.rpartition("@")
    scheme = _SCHEME.match(head)
    if not at or not (scheme or ":" in head):
        return text
    return f"{scheme[0] if scheme else ''}{MASK}@{rest}"


def userinfo(url: str) -> list[str]:
    """Give what an URL has before its last ``@``, and the password of it, also as they are without percent signs."""
    head = url.rpartition("@")[0].partition("://")[2]
    secret_parts = [part for part in (head, head.partition(":")[2]) if part]
    return list(dict.fromkeys([*secret_parts, *map(unquote, secret_parts)]))


def shown(value: Any) -> str:
    """Write a wrong value for a message: short, on one line, without a password in an address."""
    text = repr(without_userinfo(value)) if isinstance(value, str) else without_userinfo(str(value))
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def text(value: Any) -> str:
    """One line of text, without blanks around it."""
    if isinstance(value, str) and (stripped := value.strip()) and stripped.isprintable():
        return stripped
    raise WrongValue("must be one line of text")


def secret(value: Any) -> str | SecretStr:
    """Text that is never shown; blanks belong to it."""
    if isinstance(value, SecretStr) or (isinstance(value, str) and value):
        return value
    raise WrongValue("must be text", hint="in TOML, write it in quotes")


def secret_url(value: Any) -> str | SecretStr:
    """Address of a web service, with user and password in it where it wants them."""
    url = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(url, str) or not re.fullmatch(r"https?://\S*[^\s/@]\S*", url.strip()):
        raise WrongValue("must be an address that begins with http:// or https://")
    return value if isinstance(value, SecretStr) else url.strip()


def listed(value: Any) -> tuple[str, ...]:
    """Entries of a comma-separated text or a list, each once; commas inside of brackets separate nothing."""
    parts = re.split(r",(?![^\[{(]*[\]})])", value) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise WrongValue("must be names separated by commas, or a list of them")
    entries = tuple(dict.fromkeys(entry for part in parts if (entry := part.strip())))
    if not entries:
        raise WrongValue("must hold at least one entry")
    return entries


def whole(minimum: int, maximum: int | None = None) -> Callable[[Any], int]:
    """Give a parser of whole numbers between two bounds, both allowed."""
    wanted = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def parse(value: Any) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            number = int(value)
        if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
            raise WrongValue(f"must be a whole number {wanted}")
        if maximum is not None and number > maximum:
            raise WrongValue(f"must be a whole number {wanted}")
        return number

    return parse


def positive(unit: str) -> Callable[[Any], float]:
    """Give a parser of finite numbers above 0, in a unit."""

    def parse(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise WrongValue(f"must be a number of {unit} above 0")
        return number

    return parse


def flag(value: Any) -> bool:
    """Tell true from false by the word, so that the text ``False`` is false."""
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise WrongValue("must be true or false (or yes, no, on, off, 1, 0)")


def choice(*words: str, also: Mapping[str, str] | None = None) -> Callable[[Any], str]:
    """Give a parser of one of some words, in any case; `also` maps other words to these."""
    known = {word: word for word in words} | dict(also or {})

    def parse(value: Any) -> str:
        word = known.get(value.strip().lower()) if isinstance(value, str) else None
        if word is None:
            raise WrongValue(f"must be one of {', '.join(words)}")
        return word

    return parse


def size_in_bytes(value: Any) -> int:
    """Bytes: a whole number, or one with a unit, ``500MB`` or ``2GiB``."""
    from dask.utils import parse_bytes

    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        if isinstance(value, str) and value.strip()[:1].isdecimal():
            return int(parse_bytes(value.strip()))
    except (ValueError, OverflowError):
        pass
    raise WrongValue("must be a number of bytes, with or without a unit", hint="such as 500MB or 2GiB")


def instant(value: Any) -> datetime:
    """A point in time: ISO 8601, UTC where it says nothing else, a date alone, or milliseconds since 1970.

    Eight digits are a date, ``20240131``.
    """
    try:
        if (moment := _moment(value)) is not None and moment.timestamp() >= 0:
            return moment
    except (ValueError, OverflowError, OSError):
        pass
    raise WrongValue(
        "must be a time since 1970 in ISO 8601, or milliseconds since 1970", hint="such as 2024-01-31T06:30:00Z"
    )


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        word = value.strip()
        is_count = word.isdecimal() and len(word) != _BASIC_DATE
        value = int(word) if is_count else datetime.fromisoformat(word)
    if isinstance(value, int) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000, UTC)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def path(value: Any) -> Path:
    """A path; ``~`` is the home folder."""
    if isinstance(value, Path):
        return value.expanduser()
    try:
        return Path(text(value)).expanduser()
    except RuntimeError:
        raise WrongValue("must be a path; the home folder that it begins with is not known") from None
    except WrongValue:
        raise WrongValue("must be a path") from None


def folder(value: Any) -> Path:
    """A folder that exists."""
    return _existing(value, Path.is_dir, "a folder")


def file(value: Any) -> Path:
    """A file that exists."""
    return _existing(value, Path.is_file, "a file")


def _existing(value: Any, exists: Callable[[Path], bool], kind: str) -> Path:
    place = path(value)
    try:
        if exists(place):
            return place
        fault = "there is none"
    except OSError as error:
        fault = f"it cannot be looked at: {error.strerror}"
    raise WrongValue(f"must be {kind}, and {fault}", part=str(place))


def field_paths(count: int | None = None) -> Callable[[Any], tuple[str, ...]]:
    """Give a parser of dotted paths of fields in an alert, of a given number or of any."""
    wanted = "field paths separated by commas" if count is None else f"{count} field paths separated by a comma"

    def parse(value: Any) -> tuple[str, ...]:
        paths = listed(value)
        if (count is not None and len(paths) != count) or not all(map(_FIELD_PATH.fullmatch, paths)):
            raise WrongValue(f"must be {wanted}", hint="a path is names with dots between, such as candidate.ra")
        return paths

    return parse


def json_value(value: str, form: str) -> Any:
    """Read JSON; `form` says in a message what it must be.

    A key that stands twice in an object is refused: one of its values would be lost.
    """
    try:
        return json.loads(value, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        fault = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        fault = "a key stands twice, or it goes too deep"
    raise WrongValue(f"must be {form}", hint=f"{fault}; in JSON, texts and keys stand in double quotes")


def _without_doubles(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    if len(result := dict(pairs)) != len(pairs):
        raise ValueError
    return result
