"""The step's settings: read from the command line, the environment and a TOML file, checked, and shown.

A value of the command line wins over the environment, the environment over the TOML file, and that over the default. In
the environment an empty text means that the variable is not set. ``NAME_FILE`` gives the path of a file that holds the
value of ``NAME``, for secrets. The TOML file has the same names, in lower or upper case, with native values: lists,
``[[catalog]]`` tables, a ``[consumer_conf]`` table; its paths are relative to itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from xmatch_hats.step.settings.catalogs import catalogs_text
from xmatch_hats.step.settings.kafka import KafkaOptions, options_text
from xmatch_hats.step.settings.model import StepSettings
from xmatch_hats.step.settings.problem import Problem, raise_problems
from xmatch_hats.step.settings.rules import problems_of_parts
from xmatch_hats.step.settings.sources import FIELDS, Given, gather
from xmatch_hats.step.settings.values import MASK, WrongValue, without_userinfo

_NOT_SET = "(not set)"
_DERIVED = {
    "dlq_topic": ("dead_letter_topic", "<PRODUCER_TOPIC>_dlq"),
    "transactional_id": ("transaction_id", "<CONSUMER_GROUP_ID>-<hostname>"),
}
"""Settings whose default is made of others: the property that has it, and its form."""


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> StepSettings:
    """Read the settings from all sources, and check each of them and those that belong together.

    What the loop needs to run is checked by `StepSettings.require_complete`.

    Parameters
    ----------
    config : Path, optional
        A TOML file.
    overrides : mapping of str to object, optional
        Options of the command line, by attribute; those that were not given are None.

    Returns
    -------
    StepSettings

    Raises
    ------
    ConfigError
        The file cannot be read, or settings are wrong; every one is told with its source and the way out, and no
        secret.
    """
    given, problems = gather(os.environ, config, overrides or {})
    wrong = _wrong_values(given)
    problems += wrong
    bad = {attribute for problem in problems for attribute in problem.attributes}
    good = {attribute: item for attribute, item in given.items() if attribute not in bad}
    settings = StepSettings(**{attribute: item.value for attribute, item in good.items()})
    settings.with_origins({attribute: item.origin for attribute, item in good.items()})
    # A setting that is wrong itself would seem to be missing.
    problems += [problem for problem in problems_of_parts(settings) if bad.isdisjoint(problem.attributes)]
    raise_problems(problems)
    return settings


def describe(settings: StepSettings) -> list[tuple[str, str, str]]:
    """Tell every setting.

    Parameters
    ----------
    settings : StepSettings

    Returns
    -------
    list of (str, str, str)
        Name, value with secrets masked, and the source of the value: environment, path of a file, command line or
        default.
    """
    rows = []
    for attribute in FIELDS:
        value = getattr(settings, attribute)
        if value is None and attribute in _DERIVED:
            value = getattr(settings, _DERIVED[attribute][0])
        origin = settings.origin(attribute)
        text = MASK if origin.hidden and attribute != "schema_registry_url" else _text(attribute, value)
        rows.append((attribute.upper(), text, origin.source + _remark(settings, attribute)))
    return rows


def settings_reference() -> list[tuple[str, str, str]]:
    """Tell the meaning of every setting.

    Returns
    -------
    list of (str, str, str)
        Name, default, empty where there is none, and description.
    """
    rows = []
    for attribute, info in FIELDS.items():
        default = info.default
        is_empty = default is None or (isinstance(default, tuple | KafkaOptions) and not default)
        text = _DERIVED.get(attribute, ("", ""))[1] if is_empty else _text(attribute, default)
        rows.append((attribute.upper(), text, info.description or ""))
    return rows


def _wrong_values(given: Mapping[str, Given]) -> list[Problem]:
    try:
        StepSettings(**{attribute: item.value for attribute, item in given.items()})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        return [_problem(str(fault["loc"][0]), given, fault.get("ctx", {}).get("error")) for fault in faults]
    return []


def _problem(attribute: str, given: Mapping[str, Given], reason: Any) -> Problem:
    item = given[attribute]
    if not isinstance(reason, WrongValue):
        reason = WrongValue("has the wrong type")
    masked = item.origin.hidden or _is_secret(attribute)
    return Problem((attribute,), item.origin.place, reason.told(item.value, masked=masked), reason.hint)


def _is_secret(attribute: str) -> bool:
    kind = FIELDS[attribute].annotation
    return kind is KafkaOptions or SecretStr in get_args(kind)


def _text(attribute: str, value: Any) -> str:
    """Write a value as the setting would have it."""
    if isinstance(value, SecretStr):
        return without_userinfo(value.get_secret_value()) if attribute == "schema_registry_url" else MASK
    if isinstance(value, KafkaOptions):
        return options_text(value) if value else _NOT_SET
    if attribute == "catalog":
        return catalogs_text(value)
    if value is None or value == ():
        return _NOT_SET
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _remark(settings: StepSettings, attribute: str) -> str:
    if getattr(settings, attribute) is None:
        return ""
    if attribute.startswith("db_") and settings.engine is None and attribute in settings.model_fields_set:
        return "; not used without ENGINE"
    is_kafka = attribute.startswith(("consumer_", "producer_", "topic_strategy_", "dlq_"))
    if is_kafka and settings.uses_files and attribute in settings.model_fields_set:
        return "; not used with SOURCE and SINK"
    return ""
