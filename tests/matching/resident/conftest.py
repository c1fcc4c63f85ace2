"""Fixtures of the resident engine's tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from tests.copies import make_copy, patch_table
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.side_copy import SideCopy, build_side_copy
from xmatch_hats.matching.resident.partition import Source

ROWS = 20_000


@dataclass(frozen=True)
class Own:
    """A copy of our own, and what it was made of."""

    copy: LocalCopy
    table: pa.Table


def source_of(copy: LocalCopy, **changes) -> Source:
    """What the engine tells workers of a copy."""
    own = {"main_path": copy.main_path, "suffix": copy.suffix, "state": "0", "has_index": copy.manifest is not None}
    return Source(**{**own, "ra_column": copy.ra_column, "dec_column": copy.dec_column, **changes})


def plain(copy: LocalCopy, *names: str) -> pa.Schema:
    """Types of some columns."""
    return pa.schema([(name, copy.schema.field(name).type) for name in names or copy.column_names(None)])


@pytest.fixture(scope="session")
def own(tmp_path_factory) -> Own:
    """A copy of one partition of three row groups."""
    table = patch_table(ROWS, 45.0, 10.0, 0.5, seed=1)
    names = pa.array([None if i % 7 == 0 else f"name {i}" for i in range(ROWS)])
    table = table.append_column("name", names).append_column("flux", pa.array([i / 8 for i in range(ROWS)]))
    copy = make_copy(table, tmp_path_factory.mktemp("own") / "own", partition_rows=30_000)
    assert len(copy.partitions) == 1
    return Own(copy, table)


@pytest.fixture
def folder(own, tmp_path) -> Path:
    """The same copy, which may be changed."""
    return shutil.copytree(own.copy.path, tmp_path / "own")


@pytest.fixture(scope="session")
def side(own, tmp_path_factory) -> SideCopy:
    """A side copy of a few columns, of the same version."""
    twin = shutil.copytree(own.copy.path, tmp_path_factory.mktemp("twin") / "own")
    return build_side_copy(LocalCopy.open(twin), ["name", "source_id", "flux"])
