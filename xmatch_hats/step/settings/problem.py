"""Where settings come from, and what is wrong with them, collected, so that one error tells all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xmatch_hats.errors import ConfigError


@dataclass(frozen=True)
class Origin:
    """Where the value of a setting was found."""

    name: str
    """The name that was used, in upper case."""
    source: str
    """Environment, command line, or the path of the file."""
    hidden: bool = False
    """It came from a file of its own, which may hold a secret whatever the setting is."""

    @property
    def place(self) -> str:
        """Name and source, for messages."""
        return f"{self.name} ({self.source})"


@dataclass(frozen=True)
class Problem:
    """One fault."""

    attributes: tuple[str, ...]
    """The settings that have part in it."""
    place: str
    """`Origin.place`, for people."""
    message: str
    hint: str = ""

    def to_error(self) -> ConfigError:
        """Make it an error of its own."""
        return ConfigError(self.message, place=self.place, hint=self.hint)


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one error for all problems; without any, do nothing.

    Raises
    ------
    ConfigError
        There are some. It never holds the values themselves: they may be secrets.
    """
    if not problems:
        return
    if len(problems) == 1:
        raise problems[0].to_error()
    lines = "\n".join(f"  {problem.to_error()}" for problem in problems)
    raise ConfigError(f"{len(problems)} settings are wrong:\n{lines}")
