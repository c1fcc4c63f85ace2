"""Fixtures of the engine's tests."""

from __future__ import annotations

import numpy as np
import pytest

from tests.matching.skies import Sky, rough_sky, write_copy


@pytest.fixture(scope="session")
def sky() -> Sky:
    """A sky with clumps wherever geometry is hard."""
    return rough_sky(np.random.default_rng(20240229))


@pytest.fixture(scope="session")
def copy_path(sky, tmp_path_factory):
    """A local copy of it, in partitions of several orders with holes between, margin 10 arcsec."""
    return write_copy(sky.frame, tmp_path_factory.mktemp("copies"))
