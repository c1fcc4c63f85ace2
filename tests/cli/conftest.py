"""A made catalogue for the command line's tests, imported once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.copies import make_copy, sky_table
from tests.shared import made_once
from xmatch_hats.catalogs.region import Box
from xmatch_hats.demo.exposure import make_exposure
from xmatch_hats.demo.sky import SkyBox, make_sky

CORNERS = (359.5, 0.5, -0.5, 0.5)
"""Of a square degree about RA 0, Dec 0."""


@dataclass(frozen=True)
class Made:
    """A sky, a copy of it under ALLWISE's definition, and positions on, beside and off its sources."""

    sky: pa.Table
    copy: Path
    ra: np.ndarray
    dec: np.ndarray

    @property
    def designations(self) -> np.ndarray:
        return np.array(self.sky["designation"].to_pylist())


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    sky = make_sky(3000, seed=5, box=SkyBox(*CORNERS))
    settings = {"coverage": Box(*CORNERS).coverage(), "partition_rows": 1000}
    folder = made_once(tmp_path_factory, "cli-made", lambda folder: make_copy(sky, folder / "sky", **settings))
    exposure = make_exposure(sky, SkyBox(359.45, 0.6, -0.55, 0.5), alerts=400, seed=5)
    return Made(sky, folder / "sky", exposure.columns["ra"], exposure.columns["dec"])


@pytest.fixture(scope="session")
def plain_copy(tmp_path_factory) -> Path:
    """A copy without a definition."""
    table = sky_table(5000, seed=3)

    def make(folder: Path) -> None:
        make_copy(table, folder / "plain", coverage="all-sky")

    return made_once(tmp_path_factory, "cli-plain", make) / "plain"
