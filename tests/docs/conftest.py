from __future__ import annotations

from pathlib import Path

import pytest

from tests.copies import make_copy
from tests.hats_code import keep_machine_code
from xmatch_hats.catalogs.region import Box
from xmatch_hats.demo.sky import SkyBox, make_sky

CORNERS = (357.0, 357.8, 18.4, 19.1)
"""Round the position that the pages search at, which is one of the demonstration's."""


@pytest.fixture(scope="session")
def root_of_catalogs(tmp_path_factory) -> Path:
    """A root with one named copy, ``allwise``, of a part of the sky."""
    keep_machine_code()
    root = tmp_path_factory.mktemp("catalogs")
    make_copy(make_sky(3000, seed=1, box=SkyBox(*CORNERS)), root / "allwise" / "v1", coverage=Box(*CORNERS).coverage())
    (root / "allwise" / "current").symlink_to("v1")
    return root


@pytest.fixture
def allwise(root_of_catalogs, monkeypatch, tmp_path) -> None:
    """Have ``allwise`` lead to a small copy, and files be written to a folder of the test's own."""
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(root_of_catalogs))
    monkeypatch.chdir(tmp_path)
