"""Definition files: where they are, and how repeated groups of columns are written out."""

from __future__ import annotations

import itertools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xmatch_hats.errors import DefinitionError


def shipped_files() -> dict[str, Path]:
    """Paths of the definitions that come with the package, by name."""
    package = Path(str(resources.files("xmatch_hats")))
    # An installed wheel has them inside the package; an editable one reads the repository's own folder.
    for folder in (package / "catalogs" / "definitions", package.parent / "catalogs"):
        if files := {path.stem: path for path in sorted(folder.glob("*.toml"))}:
            return files
    return {}


def read(path: Path) -> dict[str, Any]:
    """Read a definition file and write its groups out into columns.

    Raises
    ------
    DefinitionError
        The file cannot be read, is not TOML, or its groups cannot be written out.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        raise DefinitionError("the definition file does not exist", place=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DefinitionError(f"not a TOML file: {error}", place=path) from error
    except OSError as error:
        raise DefinitionError(f"cannot be read: {error.strerror}", place=path) from error
    repeats = values.pop("repeats", {})
    groups = values.pop("groups", [])
    columns = values.setdefault("columns", [])
    if not isinstance(repeats, dict) or not isinstance(groups, list) or not isinstance(columns, list):
        raise DefinitionError("repeats must be a table, groups and columns must be lists of tables", place=path)
    for number, group in enumerate(groups):
        columns.extend(_write_out(group, repeats, f"{path}: groups[{number}]"))
    return values


def _write_out(group: Any, repeats: dict[str, Any], place: str) -> list[dict[str, Any]]:
    if not isinstance(group, dict) or not isinstance(group.get("columns"), list):
        raise DefinitionError("a group needs a list of columns", place=place)
    if unknown := sorted(set(group) - {"repeat", "columns", "bulk"}):
        raise DefinitionError(f"unknown keys: {', '.join(unknown)}", place=place, hint="repeat, columns, bulk")
    names = group.get("repeat", [])
    if not isinstance(names, list) or not all(isinstance(repeats.get(name), list) for name in names):
        raise DefinitionError("repeat must list names of [repeats]", place=f"{place}.repeat", value=names)
    shared = {"bulk": group["bulk"]} if "bulk" in group else {}
    written = []
    for combination in itertools.product(*(repeats[name] for name in names)):
        if not all(isinstance(item, dict) for item in combination):
            raise DefinitionError("a repeat must be a list of tables", place=f"{place}.repeat", value=names)
        words = {key: value for item in combination for key, value in item.items()}
        written += [shared | _substitute(column, words, place) for column in group["columns"]]
    return written


def _substitute(column: Any, words: dict[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(column, dict):
        raise DefinitionError("a column must be a table", place=place, value=column)
    try:
        return {key: value.format(**words) if isinstance(value, str) else value for key, value in column.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise DefinitionError(
            f"a substitution in braces is unknown or malformed: {error}", place=f"{place}.columns", value=column
        ) from error


def explain(error: ValidationError, place: object) -> DefinitionError:
    """Turn a validation error into one that names file and key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    return DefinitionError(f"{key + ': ' if key else ''}{message}{more}", place=place, value=first.get("input"))
