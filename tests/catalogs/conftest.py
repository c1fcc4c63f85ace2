"""A copy that is hard to get right, intact and to be damaged."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.catalogs.tampering import Tampered
from tests.catalogs.verify_sky import MARGIN_ARCSEC, hard_table
from tests.shared import made_once


def make_intact(folder: Path) -> None:
    from xmatch_hats.catalogs.importer import build_copy

    pq.write_table(hard_table(1500, 0.3), folder / "sky.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build_copy(
            [folder / "sky.parquet"], folder / "copy", margin_arcsec=MARGIN_ARCSEC, partition_rows=100, workers=0
        )


@pytest.fixture(scope="session")
def intact(tmp_path_factory):
    return made_once(tmp_path_factory, "verify-intact", make_intact) / "copy"


@pytest.fixture
def copy(intact, tmp_path):
    # What happens to its side copy is a matter of its own.
    shutil.copytree(intact, tmp_path / "copy", ignore=shutil.ignore_patterns("side_copy"))
    return Tampered(tmp_path / "copy")
