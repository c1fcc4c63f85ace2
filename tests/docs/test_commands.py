"""Every command line of the documentation parses: verbs, options, numbers of arguments, kinds of values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer import Exit
from typer.exceptions import TyperException
from typer.main import get_command

from tests.docs.pages import PAGES, Page
from xmatch_hats.cli.app import app

ROOT = get_command(app)
RIGHT = [page for page in PAGES if page.path.name != "errors.md"]
"""A page of errors shows what is wrong on purpose."""
FOREIGN = {"--profile", "--scale", "--server", "--topic", "--host", "--check-only"}
"""Options of other programs that are named in prose."""


def command_lines(page: Page) -> Iterator[list[str]]:
    """Calls of this program in blocks for a shell."""
    for block in page.blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "xmatch-hats":
                yield words[1:]


def verb_of(words: list[str]) -> tuple[Any, list[str]]:
    """Command that words begin with, and what is left of them."""
    command, rest = ROOT, list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    return command, rest


def leaves(command: Any) -> Iterator[Any]:
    for child in getattr(command, "commands", {}).values():
        yield from leaves(child)
    if not hasattr(command, "commands"):
        yield command


def options(command: Any) -> set[str]:
    own = {name for param in command.params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"}
    return own | {"-h", "--help"}


EVERY_OPTION = set().union(*(options(command) for command in (*leaves(ROOT), ROOT)))


def fault(words: list[str]) -> str | None:
    """What the parser says against a command line."""
    command, rest = verb_of(words)
    if hasattr(command, "commands"):
        return None if rest and set(rest) <= options(command) else f"no verb: {' '.join(words)}"
    try:
        command.make_context("xmatch-hats", rest)
    except Exit:
        return None
    except TyperException as error:
        return f"{' '.join(words)}: {error.format_message()}"
    return None


@pytest.mark.parametrize("page", RIGHT, ids=str)
def test_command_lines_parse(page):
    assert [problem for words in command_lines(page) if (problem := fault(words))] == []


def test_there_are_command_lines_for_every_verb():
    told = {id(verb_of(words)[0]) for page in RIGHT for words in command_lines(page)}
    assert [command.name for command in leaves(ROOT) if id(command) not in told] == []


@pytest.mark.parametrize("words", [["alert"], ["bulk"], ["match", "t.csv", "--radios", "1"], ["cone", "1", "2"]])
def test_wrong_lines_are_noticed(words):
    assert fault(words)


@pytest.mark.parametrize("page", RIGHT, ids=str)
def test_verbs_and_options_in_prose_exist(page):
    wrong = []
    for span in page.spans():
        words = span.split()
        if words[0] == "xmatch-hats" and len(words) > 1:
            command, _ = verb_of(words[1:])
            there = options(command) if command is not ROOT else EVERY_OPTION
            wrong += [span] if command is ROOT and words[1][0] != "-" else []
        elif words[0].startswith("--"):
            there = EVERY_OPTION | FOREIGN
        else:
            continue
        wrong += [f"{span}: {name}" for name in re.findall(r"(?<!\S)--[a-z][\w-]*", span) if name not in there]
    assert wrong == []
