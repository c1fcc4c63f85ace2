"""Fixtures of the tests of nights."""

from __future__ import annotations

import pytest

from tests.bulk.alerts.nights import Sky, make_sky, sky_in, write_archive
from tests.shared import made_once


@pytest.fixture(scope="session")
def sky(tmp_path_factory) -> Sky:
    """A catalogue of 20,000 rows across RA 0, and 2,500 alerts on it."""
    return sky_in(made_once(tmp_path_factory, "alerts-sky", lambda folder: make_sky(folder, 2_500)), 2_500)


@pytest.fixture(scope="session")
def night(sky, tmp_path_factory):
    """All alerts of the sky in one archive: three slices."""
    return write_archive(tmp_path_factory.mktemp("night") / "ztf_public_20180619.tar.gz", sky.packets())
