"""Where the values of settings come from: the command line, the environment, files that it names, and a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from xmatch_hats.errors import ConfigError
from xmatch_hats.step.settings.model import StepSettings
from xmatch_hats.step.settings.problem import Origin, Problem

ENVIRONMENT, COMMAND_LINE = "environment", "command line"
_ALIASES = {"engine": ("DB_ENGINE",)}
"""Further names of settings."""
_FILE = "_FILE"
"""Ending of a name that gives the path of a file with the value."""
_MAX_FILE_BYTES = 1 << 20

FIELDS = StepSettings.model_fields
_PATHS = frozenset(name for name, info in FIELDS.items() if Path in get_args(info.annotation))


@dataclass(frozen=True)
class Given:
    """The value of a setting, not parsed yet."""

    value: Any
    origin: Origin


def gather(
    environment: Mapping[str, str], config: Path | None, overrides: Mapping[str, Any]
) -> tuple[dict[str, Given], list[Problem]]:
    """Collect the values of settings from all sources; the later ones win: TOML file, environment, command line.

    Parameters
    ----------
    environment : mapping of str to str
    config : Path or None
        A TOML file.
    overrides : mapping of str to object
        By attribute; None and empty texts are options that were not given.

    Returns
    -------
    given : dict of str to Given
        By attribute; what nobody gives is missing.
    problems : list of Problem
        What cannot be taken: unknown names, contradictions within a source, unreadable files of values.

    Raises
    ------
    ConfigError
        The TOML file is missing, cannot be read, or is not TOML.
    """
    problems: list[Problem] = []
    given: dict[str, Given] = {}
    if config is not None:
        values = _names(_read_toml(config), str(config), problems)
        given |= _layer(values, str(config), problems, config.absolute().parent)
    given |= _layer({name: value for name, value in environment.items() if value.strip()}, ENVIRONMENT, problems)
    given |= _layer(_names(overrides, COMMAND_LINE, problems), COMMAND_LINE, problems)
    if config is not None:
        _base_database(given, config)
    return given, problems


def _layer(
    values: Mapping[str, Any], source: str, problems: list[Problem], base: Path | None = None
) -> dict[str, Given]:
    """Take the settings that one source gives, by attribute, each under one of its names.

    Paths are relative to `base` where it is given: the folder of the TOML file, which so means the same everywhere.
    """
    layer = {}
    for attribute in FIELDS:
        found = _mentions(attribute, values, source)
        if not found:
            continue
        first = found[0]
        if any(first.origin.hidden != other.origin.hidden or first.value != other.value for other in found[1:]):
            differ = "" if any(item.origin.hidden for item in found) else ", and differ"
            message = f"{' and '.join(item.origin.name for item in found)} are both set{differ}"
            problems.append(Problem((attribute,), f"{attribute.upper()} ({source})", message, "remove one of them"))
        elif not first.origin.hidden:
            layer[attribute] = replace(first, value=_based(attribute, first.value, base))
        elif (read := _from_file(attribute, first, base, problems)) is not None:
            layer[attribute] = read
    return layer


def _mentions(attribute: str, values: Mapping[str, Any], source: str) -> list[Given]:
    """Find a setting under all its names; `hidden` are those that name a file with the value."""
    found = []
    for name in _spellings(attribute):
        if name in values:
            found.append(Given(values[name], Origin(name, source)))
        if (pointer := name + _FILE) in values and attribute not in _PATHS:
            found.append(Given(values[pointer], Origin(pointer, source, hidden=True)))
    return found


def _spellings(attribute: str) -> tuple[str, ...]:
    return (attribute.upper(), *_ALIASES.get(attribute, ()))


def _names(values: Mapping[str, Any], source: str, problems: list[Problem]) -> dict[str, Any]:
    """Write the names of values in upper case, without those that are not set; tell of unknown and doubled ones."""
    known = {spelling for attribute in FIELDS for spelling in _spellings(attribute)}
    pointers = {
        spelling + _FILE for attribute in FIELDS if attribute not in _PATHS for spelling in _spellings(attribute)
    }
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = key.upper()
        if name not in known and name not in pointers:
            near = _near(key, [spelling.lower() for spelling in sorted(known)])
            problems.append(Problem((), source, f"there is no setting {key!r}", near))
        elif name in result:
            problems.append(Problem((), source, f"{key} stands there twice", "remove one of them"))
        elif value is not None and not (isinstance(value, str) and not value.strip()):
            result[name] = value
    return result


def _near(name: str, known: list[str]) -> str:
    # The module that knows how to tell is heavy, and needed for a mistake only.
    from xmatch_hats.catalogs.copy import near_names

    return near_names(name, known)


def _from_file(attribute: str, pointer: Given, base: Path | None, problems: list[Problem]) -> Given | None:
    try:
        file = Path(_rebased(pointer.value, base)).expanduser()
        with file.open("rb") as stream:
            text = stream.read(_MAX_FILE_BYTES + 1).decode().rstrip("\r\n")
        fault = "" if text.strip() and len(text) <= _MAX_FILE_BYTES else "is empty, or larger than 1 MiB"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except (TypeError, RuntimeError):
        fault = "is no path of a file"
    except ValueError:
        fault = "is no text in UTF-8"
    if not fault:
        return Given(text, Origin(pointer.origin.name, str(file), hidden=True))
    # The path is not told: people put the secret itself there.
    problems.append(
        Problem((attribute,), pointer.origin.place, f"the file that it names {fault}", "name a file of one value")
    )
    return None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        fault = "the settings file does not exist"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except tomllib.TOMLDecodeError as error:
        fault = f"not a TOML file: {error}"
    except (UnicodeDecodeError, RecursionError):
        fault = "not a TOML file"
    raise ConfigError(fault, place=file, hint="--config takes a TOML file with the names of the settings")


def _based(attribute: str, value: Any, base: Path | None) -> Any:
    """Make the paths in a setting relative to a folder."""
    if attribute in _PATHS:
        return _rebased(value, base)
    if attribute == "catalog" and isinstance(value, list):
        return [_based(attribute, entry, base) for entry in value]
    # A path of a catalogue without a slash is a registered name.
    if attribute == "catalog" and isinstance(value, dict) and "/" in str(value.get("path", "")):
        return value | {"path": _rebased(value["path"], base)}
    return value


def _rebased(value: Any, base: Path | None) -> Any:
    if base is None or not isinstance(value, str) or value.startswith("~"):
        return value
    return str(base / value.strip())


def _base_database(given: dict[str, Given], file: Path) -> None:
    """Make the name of an SQLite database in the TOML file relative to it: it is a path too."""
    name, engine = given.get("db_name"), given.get("engine")
    if name is None or engine is None or name.origin.source != str(file) or name.value == ":memory:":
        return
    if str(engine.value).strip().lower() == "sqlite":
        given["db_name"] = replace(name, value=_rebased(name.value, file.absolute().parent))
