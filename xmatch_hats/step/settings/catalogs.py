"""``CATALOG``: which catalogues the step matches with."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from xmatch_hats.step.settings.values import WHOLE, WrongValue, json_value, parsed, positive, text

_FORM = 'a JSON array of objects such as {"name": "allwise", "columns": ["AllWISE", "W1mag"]}'
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise WrongValue(
            "must be letters, digits and . _ + - after a first letter or digit",
            hint="a copy of another name, or one of its versions, is given as path",
        )
    return value


def _columns(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise WrongValue("must be a list of names", hint='such as ["AllWISE", "W1mag"]')
    if not value:
        raise WrongValue("must name at least one column", hint="leave it out for the default columns")
    names = [_column(name) for name in value]
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise WrongValue(f"must name each column once; {', '.join(doubled)} stands there twice", part=None)
    return tuple(names)


def _column(value: Any) -> str:
    try:
        return text(value)
    except WrongValue:
        raise WrongValue("must be a list of names, each a text") from None


class CatalogSettings(BaseModel):
    """One catalogue of ``CATALOG``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    name: Annotated[str, parsed(_name)]
    """What its matches are called by."""
    columns: Annotated[tuple[str, ...] | None, parsed(_columns)] = None
    """Columns of the answers, by VizieR's names or the copy's; None is the default set of the definition."""
    path: Annotated[str | None, parsed(text)] = None
    """Folder, registered name or ``NAME@VERSION`` of the local copy; None is the registered name `name`."""
    radius: Annotated[float | None, parsed(positive("arcsec"))] = None
    """Search radius in arcsec; None is the definition's."""

    def to_json(self) -> dict[str, Any]:
        """Give the entry as it is written in ``CATALOG``, without what is left out."""
        return self.model_dump(mode="json", exclude_none=True)


DEFAULT_CATALOGS = (CatalogSettings(name="allwise"),)


def catalogs(value: Any) -> tuple[CatalogSettings, ...]:
    """Parse ``CATALOG``: JSON text, the tables of a TOML file, or one entry alone.

    Raises
    ------
    WrongValue
        It has another form, is empty, or names a catalogue twice; the entry and its key are told.
    """
    if isinstance(value, str):
        value = json_value(value, _FORM)
    if isinstance(value, dict | CatalogSettings):
        value = [value]
    if not isinstance(value, list | tuple):
        raise WrongValue(f"must be {_FORM}")
    if not value:
        raise WrongValue("must name at least one catalogue", hint="leave it out for allwise")
    entries = tuple(_entry(item, number) for number, item in enumerate(value, 1))
    if doubled := [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]:
        raise WrongValue(
            f"two catalogues are named {doubled[0]}", hint="give one another name, and its copy as path", part=None
        )
    return entries


def catalogs_text(entries: tuple[CatalogSettings, ...]) -> str:
    """Write catalogues as ``CATALOG`` has them."""
    return json.dumps([entry.to_json() for entry in entries])


def _entry(item: Any, number: int) -> CatalogSettings:
    if isinstance(item, CatalogSettings):
        return item
    if not isinstance(item, dict):
        raise WrongValue(f"must be {_FORM}; entry {number} must be an object", part=item)
    try:
        return CatalogSettings.model_validate(item)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    # Raised outside, so that nobody prints pydantic's own text as the cause.
    raise _fault(faults[0], number)


def _fault(fault: Any, number: int) -> WrongValue:
    key = ".".join(str(part) for part in fault["loc"])
    place = f"entry {number}"
    if fault["type"] == "missing":
        return WrongValue(f"{place} has no {key}", hint="it is what the matches are called by", part=None)
    if fault["type"] == "extra_forbidden":
        return WrongValue(f"{place} has an unknown key {key!r}", hint=_near(key), part=None)
    reason = fault.get("ctx", {}).get("error")
    if not isinstance(reason, WrongValue):
        reason = WrongValue("has the wrong type")
    part = fault["input"] if reason.part is WHOLE else reason.part
    return WrongValue(f"{place}: {key} {reason.message}", hint=reason.hint, part=part)


def _near(key: str) -> str:
    from xmatch_hats.catalogs.copy import near_names

    return near_names(key, list(CatalogSettings.model_fields))
