"""The tree of the command line's verbs, as a user meets it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typer.main import get_command

from xmatch_hats.cli import PROGRAM
from xmatch_hats.cli.app import app


@dataclass(frozen=True)
class Node:
    """One verb, or a group of verbs."""

    path: tuple[str, ...]
    """Words that lead to it, the program's name among them."""
    command: Any

    @property
    def name(self) -> str:
        return " ".join(self.path)

    @property
    def is_group(self) -> bool:
        return hasattr(self.command, "commands")

    @property
    def options(self) -> set[str]:
        return {name for param in self.command.params for name in (*param.opts, *param.secondary_opts)}


def walk() -> list[Node]:
    """The program, its groups, and all verbs."""
    return list(_walk((PROGRAM,), get_command(app)))


def _walk(path: tuple[str, ...], command: Any) -> Iterator[Node]:
    yield Node(path, command)
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk((*path, name), child)
