"""Python of the documentation compiles, what it imports is there, and what can be run here runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util

import pytest

from tests.docs.pages import DOCS, PAGES, Page

ELSEWHERE = {"astroquery", "dask_jobqueue"}
"""Packages that pages speak of, and nothing here needs."""


def missing(node: ast.Import | ast.ImportFrom) -> list[str]:
    """What an import asks for that is not there."""
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    wrong = []
    for module in modules:
        if module.partition(".")[0] in ELSEWHERE:
            continue
        if importlib.util.find_spec(module) is None:
            wrong.append(module)
        elif isinstance(node, ast.ImportFrom):
            there = importlib.import_module(module)
            wrong += [f"{module}.{alias.name}" for alias in node.names if not hasattr(there, alias.name)]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_blocks_compile_and_import_what_is_there(page):
    for block in page.blocks("python"):
        nodes = ast.walk(ast.parse(block))
        assert [missing(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) if missing(node)] == []


def test_what_is_missing_is_noticed():
    (node,) = ast.parse("from xmatch_hats import crossmatches").body
    assert missing(node) == ["xmatch_hats.crossmatches"]


def test_the_page_on_python_runs(allwise, capsys):
    names: dict[str, object] = {}
    for block in Page(DOCS / "how-to" / "python.md").blocks("python"):
        exec(compile(block, "python.md", "exec"), names)
    told = capsys.readouterr().out
    assert "a radius of 1000 arcsec cannot be searched: the catalogue has a margin of 10 arcsec" in told
    assert len(names["three"]) <= 6
    assert names["joined"].matched == 3000
    assert list(names["limits"].to_pylist()).count(None) == 0
