"""What an output was made of: the same bytes each time, and other ones for other inputs."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.copies import make_copy, sky_table
from xmatch_hats import __version__
from xmatch_hats.bulk.runs.provenance import copy_input, file_input, provenance, sha256_of, write_provenance
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.manifest import MANIFEST_NAME
from xmatch_hats.errors import CatalogError


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return make_copy(sky_table(500, seed=3), tmp_path_factory.mktemp("copy") / "plain", coverage="all-sky")


def test_the_same_work_gives_the_same_bytes(copy, tmp_path):
    def write(folder):
        facts = provenance("bulk catalogs", [copy_input(copy)], {"radius_arcsec": 1.0, "out": folder.name})
        return write_provenance(folder, tmp_path / "scratch", facts).read_bytes()

    first = write(tmp_path / "a" / "out")
    assert first == write(tmp_path / "b" / "out")
    facts = json.loads(first)
    assert facts["work"] == "bulk catalogs"
    assert facts["settings"] == {"out": "out", "radius_arcsec": 1.0}
    assert facts["software"]["xmatch-hats"] == __version__
    (given,) = facts["inputs"]
    assert (given["path"], given["rows"], given["uuid"]) == (str(copy.path), 500, copy.manifest.uuid)
    assert given["sha256"][MANIFEST_NAME] == sha256_of(copy.path / MANIFEST_NAME)
    assert any(name.endswith("dataset/_metadata") for name in given["sha256"])


def test_a_catalogue_of_others(copy, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(copy.main_path, bare)
    given = copy_input(LocalCopy.open(bare))
    assert given["uuid"] is None
    assert "dataset/_metadata" in given["sha256"]
    with (bare / "partition_info.csv").open("a") as file:
        file.write("\n")
    assert copy_input(LocalCopy.open(bare))["sha256"] != given["sha256"]


def test_files(tmp_path):
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) == digest
    assert file_input(path, 3, digest) == {"kind": "file", "path": str(path), "bytes": 3, "sha256": digest}
    with pytest.raises(CatalogError, match=r"none: cannot be read: No such file"):
        sha256_of(tmp_path / "none")
