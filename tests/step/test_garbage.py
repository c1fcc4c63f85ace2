"""Searches for reference cycles: rare while batches run, and as they were afterwards."""

from __future__ import annotations

import gc

import pytest

from xmatch_hats.step.garbage import rare_collections


def test_searches_are_rare_for_as_long_as_it_takes():
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold()[0] > 10_000
    assert gc.get_threshold() == before
    with pytest.raises(KeyError), rare_collections():
        raise KeyError
    assert gc.get_threshold() == before
