"""Fixtures of the bulk face's tests."""

from __future__ import annotations

import pytest

from tests.bulk.catalogs.skies import Pair, make_pair, write_pair
from tests.shared import made_once


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Pair:
    """Two catalogues, each in two layouts."""
    return make_pair(made_once(tmp_path_factory, "bulk-pair", write_pair))
