"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.hats_code import keep_machine_code

pytest_plugins = ["tests.services.fixtures"]

TESTS = Path(__file__).resolve().parent
SHARED_DATA = TESTS.parents[1] / "shared" / "data"

# A handful of examples finds what breaks for everybody; the campaign looks for the rest.
settings.register_profile("ordinary", max_examples=25, deadline=None)
settings.register_profile("campaign", max_examples=400, deadline=None)
settings.load_profile("ordinary")

LONGEST = (
    "catalogs/test_importer.py",
    "step/test_dask_outages.py",
    "matching/test_crossmatcher.py",
    "step/process/test_stopping.py",
    "step/kafka/test_outages.py",
    "step/test_outages.py",
    "step/process/test_kills.py",
    "step/process/test_group.py",
    "matching/test_scheduling.py",
    "step/process/test_whole_path.py",
    "catalogs/test_verify.py",
    "cli/test_run.py",
    "bulk/catalogs/test_kills.py",
    "bulk/catalogs/test_run.py",
    "bulk/alerts/test_kills.py",
    "bulk/catalogs/test_join.py",
    "bulk/alerts/test_hardships.py",
)
"""Files that take longest; those that mostly wait for servers between those that compute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the longest files begin first: one that begins last is waited for by all other processes."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("examples")
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    if "hats.pixel_tree.pixel_alignment" in sys.modules:
        keep_machine_code()


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
    import dask
    from distributed import Client, LocalCluster

    from xmatch_hats.matching.forks import start_fork_server

    # Two processes that are forked need not import everything twice.
    method = "forkserver" if start_fork_server() else "spawn"
    with dask.config.set({"distributed.worker.multiprocessing-method": method}):
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit="2GiB")
    with cluster, Client(cluster) as client:
        yield client


def on_ci() -> bool:
    """Whether a missing component is a failure rather than a skip."""
    return os.environ.get("CI", "").lower() == "true"
