"""Examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.docs.pages import PROJECT

FILES = [file for file in sorted((PROJECT / "xmatch_hats").rglob("*.py")) if ">>> " in file.read_text()]
MODULES = [".".join(file.relative_to(PROJECT).with_suffix("").parts) for file in FILES]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, allwise):
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_main_calls_have_examples():
    homes = {"matching.api", "matching.crossmatcher", "matching.healpix_join", "catalogs.copy", "catalogs.coverage"}
    assert {f"xmatch_hats.{home}" for home in homes} <= set(MODULES)
