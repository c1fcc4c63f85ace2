"""Settings of Kafka: topics, servers, and the options of librdkafka that users may pass."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from xmatch_hats.step.settings.values import MASK, WrongValue, json_value, listed, text

OptionValue = str | int | bool

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(r"(?:[A-Za-z_]+://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORT = 9092
_DATE_LETTERS = re.compile(r"%[Yymdjb]")
_ANY_DAY = datetime(2024, 1, 31)
_SECRET_KEY = re.compile(r"password|secret|key\.pem|sasl\.jaas|token|oauthbearer\.config", re.IGNORECASE)
_SWITCHED_OFF = ("false", "0", "f", "no", "off")

_OWNED = {
    "bootstrap.servers": "the server has a setting of its own",
    "metadata.broker.list": "the server has a setting of its own",
    "group.id": "the group is CONSUMER_GROUP_ID",
    "transactional.id": "it is TRANSACTIONAL_ID, and is used with DELIVERY=exactly-once alone",
    "enable.auto.commit": "offsets are committed by the step, after their messages were delivered",
    "auto.commit.enable": "offsets are committed by the step, after their messages were delivered",
    "enable.auto.offset.store": "offsets are kept by the step, after their messages were delivered",
    "enable.partition.eof": "the step needs it; whether it stops at the end is ENABLE_PARTITION_EOF",
}
_TOPICS = "must be names of topics (letters, digits, dots, - and _) or regular expressions that begin with ^"
_ACKS = ("acks", "request.required.acks")


def topic(value: Any) -> str:
    """Name of a topic."""
    name = text(value) if isinstance(value, str) and value.strip() else ""
    if not _is_topic(name):
        raise WrongValue("must be the name of a topic: at most 249 letters, digits, dots, - and _")
    return name


def topics(value: Any) -> tuple[str, ...]:
    """Names of topics, and regular expressions, which begin with ``^``."""
    entries = listed(value)
    for entry in entries:
        if not entry.startswith("^"):
            if not _is_topic(entry):
                raise WrongValue(_TOPICS, part=entry)
            continue
        try:
            re.compile(entry)
        except re.error:
            raise WrongValue(_TOPICS, hint="the regular expression cannot be read", part=entry) from None
    return entries


def topic_formats(value: Any) -> tuple[str, ...]:
    """Formats of the names of daily topics: one ``%s`` for the date in eight digits, or letters of strftime."""
    formats = listed(value)
    for form in formats:
        rest = form.replace("%s", "", 1) if "%s" in form else _DATE_LETTERS.sub("", form)
        if "%" not in form or "%" in rest or not _is_topic(_ANY_DAY.strftime(strftime_format(form))):
            raise WrongValue(
                "must be names of daily topics with one %s for the date, or %Y, %y, %m, %d, %j, %b of strftime",
                hint="such as ztf_%s_programid1",
                part=form,
            )
    return formats


def strftime_format(form: str) -> str:
    """Write the format of a daily topic in letters of strftime alone."""
    return form.replace("%s", "%Y%m%d")


def servers(value: Any) -> str:
    """Addresses of brokers, ``host:port`` with commas between."""
    try:
        entries = listed(value)
    except WrongValue:
        entries = ("",)
    found = [_SERVER.fullmatch(entry) for entry in entries]
    if not all(match and 0 < int(match["port"] or _DEFAULT_PORT) < 1 << 16 for match in found):
        raise WrongValue("must be host:port of a Kafka broker", hint="several are separated by commas")
    return ",".join(entries)


def hosts(addresses: str | None) -> frozenset[str]:
    """Brokers of a server setting as ``host:port``, to compare two of them; empty for None."""
    found = [_SERVER.fullmatch(entry) for entry in (addresses or "").split(",")]
    return frozenset(f"{match['host'].lower()}:{int(match['port'] or _DEFAULT_PORT)}" for match in found if match)


def reads_topic(name: str, entries: Iterable[str], formats: Iterable[str]) -> str | None:
    """Tell which of the topics, regular expressions and formats of daily topics that a consumer reads holds a topic.

    Returns
    -------
    str or None
        The entry, None if the topic is not read.
    """
    for entry in entries:
        # As librdkafka does it: from the start, not to the end.
        if entry == name or (entry.startswith("^") and re.match(entry, name)):
            return entry
    return next((form for form in formats if _is_dated(name, strftime_format(form))), None)


def _is_dated(name: str, form: str) -> bool:
    try:
        datetime.strptime(name, form)
    except ValueError:
        return False
    return True


def _is_topic(name: str) -> bool:
    return bool(_TOPIC.fullmatch(name)) and name not in (".", "..")


class KafkaOptions(Mapping[str, OptionValue]):
    """Options of librdkafka by their keys; those that are secrets are not shown."""

    def __init__(self, options: Mapping[str, OptionValue] | None = None) -> None:
        self._options = dict(options or {})

    def __getitem__(self, key: str) -> OptionValue:
        return self._options[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __repr__(self) -> str:
        return f"KafkaOptions({self.masked()})"

    def masked(self) -> dict[str, OptionValue]:
        """Give the options with secrets masked."""
        return {key: MASK if _SECRET_KEY.search(key) else value for key, value in self._options.items()}

    def secrets(self) -> list[str]:
        """Give the values that are secrets."""
        return [str(value) for key, value in self._options.items() if _SECRET_KEY.search(key)]


def kafka_options(value: Any) -> KafkaOptions:
    """Parse options of librdkafka: a JSON object, or a table of TOML, whose dotted keys may be written without quotes.

    Raises
    ------
    WrongValue
        It has another form, or holds an option that the step must set itself.
    """
    if isinstance(value, KafkaOptions):
        return value
    if isinstance(value, str):
        value = json_value(value, "a JSON object of librdkafka keys")
    if not isinstance(value, Mapping):
        raise WrongValue('must be an object of librdkafka keys, such as {"fetch.min.bytes": 1000}')
    options: dict[str, OptionValue] = {}
    for key, item in _flat(value):
        if key in options:
            raise WrongValue(f"{key} stands twice", part=None)
        if not isinstance(item, str | int | bool):
            raise WrongValue(f"{key} must be text, a whole number, true or false", part=None)
        _refuse_owned(key, item)
        options[key] = item
    return KafkaOptions(options)


def options_text(options: KafkaOptions) -> str:
    """Write options as a setting has them, secrets masked."""
    return json.dumps(options.masked())


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in table.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _flat(item, f"{name}.")
        else:
            yield name, item


def _refuse_owned(key: str, value: OptionValue) -> None:
    word = str(value).strip().lower()
    reason = _OWNED.get(key)
    if key == "enable.idempotence" and word in _SWITCHED_OFF:
        reason = "without it a retry of the producer could repeat messages or change their order"
    elif key in _ACKS and word not in ("all", "-1"):
        reason = "an output counts as delivered when all replicas have it"
    if reason is not None:
        raise WrongValue(f"{key} cannot be set: {reason}", hint="remove it", part=None)
