"""Bars of long matches: drawn where somebody looks, told what is done, and of no influence on the answer."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.copies import make_copy, patch_table
from xmatch_hats.matching import crossmatcher, progress
from xmatch_hats.matching.api import crossmatch
from xmatch_hats.matching.crossmatcher import Crossmatcher
from xmatch_hats.matching.progress import is_watched, progress_bar


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return make_copy(patch_table(2000, 10.0, 0.0, 1.0), tmp_path_factory.mktemp("stars") / "stars", coverage="all-sky")


@pytest.fixture(scope="module")
def table():
    rows = patch_table(500, 10.0, 0.0, 1.0, seed=1)
    return pd.DataFrame({"ra": [*rows["ra"].to_numpy(), np.nan], "dec": [*rows["dec"].to_numpy(), 0.0]})


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(crossmatcher, "WATCHED_CHUNK_ROWS", 100)
    monkeypatch.setattr(crossmatcher, "CHUNK_ROWS", 250)


@pytest.mark.parametrize(("engine", "steps"), [("resident", [100] * 5), ("lsdb", [250, 250])])
@pytest.mark.usefixtures("small_chunks")
def test_a_matcher_tells_what_is_done(copy, table, engine, steps):
    told: list[int] = []
    with Crossmatcher([copy], workers=0, engine=engine) as matcher:
        result = matcher.match(table["ra"], table["dec"], progress=told.append)["stars"]
        assert told == steps  # a row without a position is not matched
        whole = matcher.match(table["ra"], table["dec"])["stars"]
    assert result.counts() == whole.counts()
    assert result.rows.equals(whole.rows)


@pytest.mark.usefixtures("small_chunks")
def test_a_bar_is_drawn_if_asked_for(copy, table, capsys):
    seen = crossmatch(table, copy, 60 * 0.1, progress=True)
    drawn = capsys.readouterr().err
    assert "matching" in drawn
    assert "positions" in drawn
    unseen = crossmatch(table, copy, 60 * 0.1)
    assert capsys.readouterr().err == ""
    pd.testing.assert_frame_equal(seen, unseen)


def test_somebody_looks_at_terminals_and_notebooks(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_watched()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert is_watched()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert is_watched()
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not is_watched()


def test_what_is_done_soon_draws_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    with progress_bar(10, None) as tell:
        assert tell is not None
        tell(10)
    assert capsys.readouterr().err.strip() == ""
    with progress_bar(10, asked=False) as tell:
        assert tell is None
