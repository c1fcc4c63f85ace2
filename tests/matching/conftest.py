"""Fixtures of the engine's tests."""

from __future__ import annotations

import numpy as np
import pytest

from tests.matching.skies import Sky, rough_sky, write_copy
from tests.shared import made_once


@pytest.fixture(scope="session")
def sky() -> Sky:
    """A sky with clumps wherever geometry is hard."""
    return rough_sky(np.random.default_rng(20240229))


@pytest.fixture(scope="session")
def copy_path(sky, tmp_path_factory):
    """A local copy of it, in partitions of several orders with holes between, margin 10 arcsec."""
    return made_once(tmp_path_factory, "matching-copy", lambda folder: write_copy(sky.frame, folder)) / "sky"
