"""Fixtures of the bulk face's tests."""

from __future__ import annotations

import pytest

from tests.bulk.catalogs.skies import Pair, make_pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Pair:
    """Two catalogues, each in two layouts."""
    return make_pair(tmp_path_factory.mktemp("bulk"))
