"""Small copies on the places of the sky where pictures go wrong first, and what was matched with them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from tests.copies import make_copy, patch_table
from tests.shared import made_once
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.region import Cone
from xmatch_hats.matching.api import crossmatch

mpl.use("Agg")
OFFSET = (0.3, -0.2)
"""Of the catalogue's rows from the inputs, arcsec: east and north."""


@pytest.fixture(autouse=True)
def _no_figures_left():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.fixture(scope="session")
def pole(tmp_path_factory):
    """4,000 rows within two degrees of the north pole, in several partitions."""
    table = patch_table(4000, 0.0, 90.0, 2.0, seed=1)
    settings = {"coverage": Cone(0.0, 90.0, 2.0).coverage(), "partition_rows": 600}
    folder = made_once(tmp_path_factory, "plots-pole", lambda folder: make_copy(table, folder / "pole", **settings))
    return LocalCopy.open(folder / "pole")


@pytest.fixture(scope="session")
def zero(tmp_path_factory):
    """8,000 rows within a degree of RA 0, Dec 0: 2,546 in a square degree."""
    table = patch_table(8000, 0.0, 0.0, 1.0, seed=2)
    settings = {"coverage": Cone(0.0, 0.0, 1.0).coverage(), "partition_rows": 2000}
    folder = made_once(tmp_path_factory, "plots-zero", lambda folder: make_copy(table, folder / "zero", **settings))
    return LocalCopy.open(folder / "zero")


@pytest.fixture(scope="session")
def inputs(zero):
    """500 positions with a counterpart, brighter than magnitude 18, and 1,500 without."""
    rows = patch_table(8000, 0.0, 0.0, 1.0, seed=2)
    inner = np.flatnonzero(np.hypot((rows["ra"].to_numpy() + 180) % 360 - 180, rows["dec"].to_numpy()) < 0.9)[:500]
    far = patch_table(1500, 0.0, 0.0, 0.9, seed=3)
    rng = np.random.default_rng(4)
    return pd.DataFrame(
        {
            "ra": np.concatenate((rows["ra"].to_numpy()[inner] - OFFSET[0] / 3600, far["ra"].to_numpy())) % 360.0,
            "dec": np.concatenate((rows["dec"].to_numpy()[inner] - OFFSET[1] / 3600, far["dec"].to_numpy())),
            "mag": np.concatenate((rng.uniform(14.0, 18.0, 500), rng.uniform(18.0, 21.0, 1500))),
        }
    )


@pytest.fixture(scope="session")
def result(zero, inputs):
    """The nearest within 5 arcsec."""
    return crossmatch(inputs, zero, 5.0)


@pytest.fixture(scope="session")
def everything(zero, inputs):
    """All within 5 arcsec."""
    return crossmatch(inputs, zero, 5.0, n_neighbors=None)
