"""Links and anchors of the pages lead somewhere, and so does the navigation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import DOCS, PAGES, PROJECT, Page, hooks, slug

PLACES = ("benchmarks/", "catalogs/", "docker/", "docs/", "notebooks/", "tests/", "xmatch_hats/")


def place_of(page: Page, target: str) -> Path:
    """File that a link means; profiles and charts are put beside the figures when the site is built."""
    is_figure = page.path == DOCS / "performance" / "results.md" and target.startswith(("profiles/", "charts/"))
    return ((hooks().FIGURES if is_figure else page.path.parent) / target).resolve()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_and_anchors(page):
    lost = []
    for target in page.links():
        file, _, anchor = target.partition("#")
        place = place_of(page, file) if file else page.path
        if not place.exists() or (anchor and (place.suffix != ".md" or anchor not in Page(place).anchors)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.path.is_relative_to(DOCS)], ids=str)
def test_pages_link_to_pages_only(page):
    """What lies outside of docs/ is no part of the site: it is named, not linked."""
    places = [place_of(page, target.partition("#")[0]) for target in page.links()]
    assert [
        str(place) for place in places if not place.is_relative_to(DOCS) and place.suffix not in (".txt", ".svg")
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_files_that_are_named_exist(page):
    named = [span for span in page.spans() if span.startswith(PLACES) and re.fullmatch(r"[\w./-]+", span)]
    assert [name for name in named if not (PROJECT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_targets_of_make_exist(page):
    targets = set(re.findall(r"^([\w -]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    known = {name for line in targets for name in line.split()}
    asked = re.findall(r"(?:^|`)make ([\w-]+)", page.text, re.MULTILINE)
    assert set(asked) <= known


def test_every_page_is_in_the_navigation_once():
    def files(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [name for item in (entry.values() if isinstance(entry, dict) else entry) for name in files(item)]

    listed = files(yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"])
    assert sorted(listed) == sorted(str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md"))


def test_readme_is_one_page():
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 120


def test_anchors_are_those_of_headings():
    assert slug("What `xmatches` holds") == "what-xmatches-holds"
    assert slug("Units that are set aside") == "units-that-are-set-aside"
