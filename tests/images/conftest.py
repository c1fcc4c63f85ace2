from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial import cKDTree

from tests.copies import make_copy
from tests.images.skies import FIELDS, sky, unit
from tests.shared import made_once
from xmatch_hats.catalogs.copy import LocalCopy, open_copy
from xmatch_hats.catalogs.region import Cone


@dataclass(frozen=True)
class Sky:
    """A sky, and a copy of it that covers all."""

    table: pa.Table
    copy: LocalCopy

    def ids(self, rows) -> list[int]:
        """Numbers of the sky's rows that rows of a star catalogue are."""
        if not rows:
            return []
        ra, dec = (np.array([row[name] for row in rows]) for name in ("RA(J2000)", "Dec(J2000)"))
        tree = cKDTree(unit(self.table["ra"].to_numpy(), self.table["dec"].to_numpy()))
        distance, index = tree.query(unit(ra, dec))
        assert distance.max() < 1e-10
        return index.tolist()


@pytest.fixture(scope="session")
def stars(tmp_path_factory) -> Sky:
    table = sky()

    def make(folder: Path) -> None:
        make_copy(table, folder / "stars", coverage="all-sky", partition_rows=2000)

    return Sky(table, open_copy(made_once(tmp_path_factory, "images-stars", make) / "stars"))


@pytest.fixture(scope="session")
def part(stars, tmp_path_factory) -> LocalCopy:
    """A copy of the cone of one degree around the plain field."""
    cone = Cone(*FIELDS["plain"], 0.9)
    rows = stars.table.filter(cone.row_mask(stars.table["ra"].to_numpy(), stars.table["dec"].to_numpy()))
    return make_copy(rows, tmp_path_factory.mktemp("part") / "part", coverage=cone.coverage())


@pytest.fixture(scope="session")
def unrecorded(part, tmp_path_factory) -> LocalCopy:
    """The same, as somebody else would have made it: without a recorded coverage."""
    folder = tmp_path_factory.mktemp("unrecorded") / "part"
    shutil.copytree(part.path, folder)
    (folder / "xmatch_hats.json").unlink()
    return open_copy(folder)
