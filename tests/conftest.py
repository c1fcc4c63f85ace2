"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.services.fixtures"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data set; tests that ask for it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data set is not beside the project")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own configuration or catalogues."""
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XMATCH_HATS_CATALOGS", "XMATCH_HATS_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def dask_client():
    """A Dask cluster of two worker processes, shared by the session."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit="2GiB") as cluster,
        Client(cluster) as client,
    ):
        yield client


def on_ci() -> bool:
    """Whether a missing component is a failure rather than a skip."""
    return os.environ.get("CI", "").lower() == "true"
