"""Messages that the page of operations shows are those of the code."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.docs.pages import DOCS, PROJECT, Page

PAGE = Page(DOCS / "operations.md")
LEAST = 7
"""Letters of a message that must be the code's own."""
MESSAGES = [line for block in PAGE.blocks("text") for line in block.splitlines() if line.strip()]


@cache
def texts() -> list[list[str]]:
    """Texts of the code, in the pieces between what it puts in; the longest first."""
    found = set()
    for file in sorted((PROJECT / "xmatch_hats").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
                found.add(re.sub(r"%[.\d]*[sdfg]", "\0", node.value))
    kept = [text for text in found if sum(map(str.isalpha, text)) >= LEAST]
    return [text.split("\0") for text in sorted(kept, key=len, reverse=True)]


def unexplained(message: str) -> str:
    """What of a message no text of the code accounts for."""
    for pieces in texts():
        if all(piece in message for piece in pieces):
            message = re.sub(".*?".join(map(re.escape, pieces)), "", message)
    return message.replace("…", "").strip(" :;()").strip()


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_code(message):
    assert unexplained(message) == ""


def test_other_words_are_noticed():
    assert unexplained("waiting for database: …; try … was in vain, next in … s")


def test_every_component_that_is_waited_for_is_told():
    source = "\n".join(file.read_text() for file in (PROJECT / "xmatch_hats" / "step").rglob("*.py"))
    waited = set(re.findall(r"until_done\(\"([\w ]+)\"", source))
    assert {"database", "output", "schema registry"} <= waited
    assert [name for name in sorted(waited) if f"`{name}`" not in PAGE.prose] == []
