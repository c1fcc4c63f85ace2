"""The pages of the documentation as data: what a reader sees, blocks of code, headings and links."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"

_BLOCK = re.compile(r"^(?P<fence>```+)(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_OBJECT = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_SPAN = re.compile(r"`([^`]+)`")


@cache
def hooks() -> ModuleType:
    """The module that makes parts of the site; MkDocs finds it by its path, too."""
    spec = importlib.util.spec_from_file_location("documentation_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Page:
    """One file in Markdown."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(PROJECT))

    @cached_property
    def text(self) -> str:
        """With what is made for it."""
        text = self.path.read_text(encoding="utf-8")
        return hooks().expand(text) if self.path.is_relative_to(DOCS) else text

    def blocks(self, kind: str) -> list[str]:
        """Blocks of code in one language."""
        return [block["text"] for block in _BLOCK.finditer(self.text) if block["kind"] == kind]

    @cached_property
    def prose(self) -> str:
        """Without blocks of code."""
        return _BLOCK.sub("", self.text)

    def spans(self) -> list[str]:
        """Code within lines."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    def links(self) -> list[str]:
        """Targets of links that do not leave the project."""
        found = _LINK.findall(_SPAN.sub("", self.prose))
        return [target for target in found if not re.match(r"[a-z]+:", target)]

    @cached_property
    def anchors(self) -> set[str]:
        """What a link to this page may point at."""
        slugs = [slug(heading) for heading in _HEADING.findall(self.prose)]
        return {*slugs, *_OBJECT.findall(self.prose)}


def slug(heading: str) -> str:
    """Anchor of a heading, as Python-Markdown makes it."""
    text = unicodedata.normalize("NFKD", re.sub(r"[`*]", "", heading)).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def all_pages() -> list[Page]:
    """Pages of the site, README, and the guide of docker/."""
    files = [PROJECT / "README.md", PROJECT / "docker" / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [Page(file) for file in files]


PAGES = all_pages()
