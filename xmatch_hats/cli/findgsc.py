"""``xmatch-hats-findgsc``: a local stand-in for the program by which mask modules ask a server for stars.

``xmatch-hats-findgsc RA [+]DEC -r ARCMIN -n N`` prints a star catalogue. Callers take anything on the standard error
for a failure and often look at nothing else: it stays empty; reasons are in a free line of the output and in the log.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xmatch_hats.errors import ConfigError, UsageError, XmatchError

PROGRAM = "xmatch-hats-findgsc"
LOG_ENV = "XMATCH_HATS_LOG"
SETTINGS = {
    "catalog": "XMATCH_HATS_STAR_CATALOG",
    "magnitudes": "XMATCH_HATS_STAR_MAGNITUDES",
    "stars": "XMATCH_HATS_STAR_CONDITION",
    "faint": "XMATCH_HATS_STAR_FAINT",
}
"""Keys of ``[findgsc]`` in the configuration file, and what wins over them in the environment."""

USAGE = f"""\
usage: {PROGRAM} RA [+]DEC -r ARCMIN [-n N]

Prints the stars within ARCMIN arcminutes of a position in degrees, the nearest first, N of them at most, as a star
catalogue of a local copy. The copy is named by XMATCH_HATS_STAR_CATALOG, or by `catalog` in [findgsc] of the
configuration file. Exits with 0 if the whole disc was searched, else with 1; the reason is in the output's first line
and is appended to the file that XMATCH_HATS_LOG names.
"""

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_POSITION = re.compile(rf"({_NUMBER})(?:\s*,\s*|\s+|(?=[+-]))({_NUMBER})")
_IS_NUMBER = re.compile(_NUMBER)
_HINT = f"{PROGRAM} RA [+]DEC -r ARCMIN -n N, in degrees and arcminutes"


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    ra: float
    """Degrees."""
    dec: float
    radius_arcmin: float
    most: int | None
    """Number of rows at most; None: all."""

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Request:
        """Read a command line; a position may be one argument or two.

        Raises
        ------
        UsageError

        Examples
        --------
        >>> Request.parse(["213.5", "-54.25", "-r", "12.5", "-n", "1000000"])
        Request(ra=213.5, dec=-54.25, radius_arcmin=12.5, most=1000000)
        >>> Request.parse(["-r5", "10.5 +2e-05"])
        Request(ra=10.5, dec=2e-05, radius_arcmin=5.0, most=None)
        """
        words, given = list(arguments), {}
        position = []
        while words:
            word = words.pop(0)
            if word[:2] in ("-r", "-n"):
                value = word[2:] or (words.pop(0) if words else "")
                given[word[:2]] = value
            elif word.startswith("-") and not _IS_NUMBER.match(word):
                raise UsageError(f"no such option: {word}", hint=_HINT)
            else:
                position.append(word)
        found = _POSITION.fullmatch(" ".join(position).strip())
        if found is None:
            raise UsageError(f"{' '.join(position)!r} is no position in degrees", hint=_HINT)
        if "-r" not in given:
            raise UsageError("no radius is given", hint=_HINT)
        radius, most = given["-r"], given.get("-n")
        if not _IS_NUMBER.fullmatch(radius):
            raise UsageError(f"the radius {radius!r} is no number", place="-r", hint=_HINT)
        if most is not None and not (most.isascii() and most.isdecimal() and int(most) > 0):
            raise UsageError(f"{most!r} is no number of rows", place="-n", hint=_HINT)
        return cls(float(found[1]), float(found[2]), float(radius), None if most is None else int(most))


def main() -> None:
    """Run the program and exit; whatever a library says to the standard error is lost."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        code, text = 0, USAGE
    else:
        code, text = answer(arguments)
    try:
        # Bytes, as callers read them, whatever the environment makes of text.
        sys.stdout.buffer.write(text.encode("ascii", "replace"))
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    sys.exit(code)


def answer(arguments: Sequence[str]) -> tuple[int, str]:
    """Search, and give the exit code and what is printed; whatever happens, it is a star catalogue."""
    from xmatch_hats.images.star_files import Stars, star_text

    try:
        return 0, _search(Request.parse(arguments))
    except XmatchError as error:
        reason = str(error)
    except KeyboardInterrupt:
        reason = "interrupted"
    except Exception as error:  # noqa: BLE001, callers have no use for a traceback
        reason = f"{type(error).__name__}: {error}"
    _log(arguments, reason)
    return 1, star_text(Stars.none(), [f"FAILED: {reason}", f"{PROGRAM} {' '.join(arguments)}"])


def _search(request: Request) -> str:
    from xmatch_hats.catalogs.copy import open_copy
    from xmatch_hats.catalogs.magnitudes import split_map
    from xmatch_hats.cli.options import split_target
    from xmatch_hats.errors import CoverageError
    from xmatch_hats.images.star_choice import StarChoice
    from xmatch_hats.images.star_files import star_text
    from xmatch_hats.matching.search import Cone, cone_rows, is_covered

    settings = _settings()
    cone = Cone(request.ra, request.dec, request.radius_arcmin * 60.0)
    name, folder = split_target(settings["catalog"])
    copy = open_copy(folder)
    pairs = split_map([settings["magnitudes"]], "magnitudes") if settings["magnitudes"] else None
    choice = StarChoice.of(copy, pairs, settings["stars"] or None, settings["faint"], option="")
    if not is_covered(copy, cone):
        known = "has no recorded coverage" if copy.manifest is None else "does not surely hold the whole disc"
        raise CoverageError(known, place=copy.path, hint="see `xmatch-hats catalog info`")
    stars = choice.stars_of(cone_rows(copy, cone, choice.columns))
    total = len(stars)
    if request.most is not None and total > request.most:
        stars = stars.take(slice(request.most))
    cut = f", the nearest {len(stars)} of them" if len(stars) < total else ""
    place = f"{request.radius_arcmin:g} arcmin around {request.ra:.9g} {request.dec:+.9g}"
    return star_text(stars, [f"stars of {name or copy.name}: {total} rows within {place}{cut}", choice.describe()])


def _settings() -> dict[str, Any]:
    """What the environment says, else the configuration file."""
    from xmatch_hats.config import config_path, load_config

    place = f"{config_path()}: [findgsc]"
    values: dict[str, Any] = {}
    table = load_config().findgsc
    if unknown := sorted(set(table) - set(SETTINGS)):
        raise ConfigError(f"has no key {unknown[0]}", place=place, hint=f"there are {', '.join(SETTINGS)}")
    for key, name in SETTINGS.items():
        value = os.environ.get(name) or table.get(key)
        if value is not None and key == "faint":
            value = _faint(value, place)
        elif value is not None and not isinstance(value, str):
            raise ConfigError(f"{key} must be a string", place=place, value=value)
        values[key] = value
    if not values["catalog"]:
        raise ConfigError(
            "no catalogue is named", hint=f"set {SETTINGS['catalog']}, or catalog in [findgsc] of {config_path()}"
        )
    return values


def _faint(value: Any, place: str) -> float:
    """A number of the configuration file, where a boolean is none, or of the environment."""
    is_number = _IS_NUMBER.fullmatch(value.strip()) if isinstance(value, str) else type(value) in (int, float)
    if not is_number:
        raise ConfigError("faint is not a number", place=place, hint=f"or {SETTINGS['faint']}", value=value)
    return float(value)


def _log(arguments: Sequence[str], reason: str) -> None:
    """Append a reason to the log, if there is one; that it cannot be written is nobody's failure."""
    place = os.environ.get(LOG_ENV)
    if not place:
        return
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = " ".join(f"{moment} {PROGRAM} {' '.join(arguments)}: {reason}".split())
    try:
        # Arguments may be bytes that are no text.
        with Path(place).expanduser().open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{line}\n")
    except (OSError, RuntimeError, ValueError):
        # No place, no such home, no name of a file.
        return


if __name__ == "__main__":
    main()
