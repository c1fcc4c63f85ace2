"""Names and versions: what leads where, and that a switch is whole."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.copies import make_copy, sky_table
from xmatch_hats.catalogs import registry
from xmatch_hats.catalogs.copy import open_copy
from xmatch_hats.catalogs.staging import Staging
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, UsageError


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return make_copy(sky_table(60, 1), tmp_path_factory.mktemp("registry") / "sky").path


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "root"


@pytest.fixture
def publish(root, original):
    def put(name: str, version: str) -> Path:
        path = registry.new_version_path(f"{name}@{version}")
        shutil.copytree(original, path)
        registry.after_publish(path)
        return path

    return put


def test_the_first_version_is_current_and_later_ones_wait(root, publish):
    first, second = publish("sky", "v1"), publish("sky", "v2")
    assert registry.resolve("sky") == first
    assert registry.resolve("sky@v2") == second
    assert registry.use("sky", "v2") == second
    assert registry.resolve("sky") == second
    registry.use("sky", "v1")
    assert registry.resolve("sky") == first
    assert os.readlink(root / "sky" / "current") == "v1"
    assert open_copy("sky").path == first


def test_listing(root, publish, original, tmp_path, monkeypatch):
    publish("sky", "v1"), publish("sky", "v2"), publish("stars", "v1")
    (root / "sky" / ".v3.importing").mkdir()
    (root / "stray").write_text("a file")
    config = tmp_path / "config.toml"
    config.write_text(f'[catalogs]\nhome = "{original}"\n')
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(config))
    entries = [(e.name, e.version, e.current) for e in registry.list_copies()]
    assert entries == [("sky", "v1", True), ("sky", "v2", False), ("stars", "v1", True), ("home", None, True)]
    assert open_copy("home").path == original
    with pytest.raises(UsageError, match="has no versions"):
        registry.use("home", "v1")
    with pytest.raises(UsageError, match="is a home"):
        registry.new_version_path("home")


def test_a_name_in_both_places_is_ambiguous(root, publish, original, tmp_path, monkeypatch):
    publish("sky", "v1")
    config = tmp_path / "config.toml"
    config.write_text(f'[catalogs]\nsky = "{original}"\n')
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(config))
    with pytest.raises(CatalogError, match="ambiguous"):
        registry.resolve("sky")


def test_a_slash_or_an_existing_folder_is_a_folder(root, publish, tmp_path):
    version = publish("sky", "v1")
    assert registry.resolve("./sky") == tmp_path / "sky"
    assert registry.resolve(Path("sky")) == tmp_path / "sky"
    assert registry.resolve("sky") == version
    (tmp_path / "sky").mkdir()
    assert registry.resolve("sky") == tmp_path / "sky"


def test_what_is_not_there_is_named_with_what_is(root, publish):
    with pytest.raises(CatalogNotFoundError, match="no catalogue is named sky"):
        registry.resolve("sky")
    publish("sky", "v1")
    with pytest.raises(
        CatalogNotFoundError, match=r"no catalogue is named sk .*there are sky|no catalogue is named sk"
    ):
        registry.resolve("sk")
    with pytest.raises(CatalogNotFoundError, match=r"has no version v9 \(there are v1\)"):
        registry.resolve("sky@v9")
    with pytest.raises(CatalogNotFoundError, match=r"has no version v9"):
        registry.use("sky", "v9")
    with pytest.raises(CatalogError, match="has a version v1 already"):
        registry.new_version_path("sky@v1")
    (root / "sky" / "current").unlink()
    with pytest.raises(CatalogNotFoundError, match=r"no current version \(choose with .*use sky v1"):
        registry.resolve("sky")


def test_a_damaged_version_does_not_become_current(root, publish):
    first = publish("sky", "v1")
    (root / "sky" / "v2").mkdir()
    with pytest.raises(CatalogError):
        registry.use("sky", "v2")
    assert registry.resolve("sky") == first


def test_a_dangling_link_is_replaced_by_the_next_version(root, publish):
    shutil.rmtree(publish("sky", "v1"))
    second = publish("sky", "v2")
    assert registry.resolve("sky") == second


@pytest.mark.parametrize(
    "name", ["", ".sky", "..", "a/b@v", "sky@", "sky@..", "sky@current", "current", "a b", "a@b@c"]
)
def test_bad_names_are_refused(root, name):
    with pytest.raises(UsageError, match="cannot be the"):
        registry.split_name(name)


def test_what_is_neither_a_name_nor_a_folder(root):
    with pytest.raises(UsageError, match=r"a int names no catalogue .*the name or the folder"):
        registry.resolve(3)


def test_versions_are_utc_times_and_never_equal(root, original):
    first = registry.new_version_path("sky")
    assert first.parent == root / "sky"
    assert len(first.name) == 16
    assert first.name[8] == "T"
    assert first.name.endswith("Z")
    shutil.copytree(original, first)
    assert registry.new_version_path("sky") != first


def test_an_interrupted_version_is_taken_up(root):
    path = registry.new_version_path("sky")
    with pytest.raises(KeyboardInterrupt), Staging(path, {}, lambda text: None):
        raise KeyboardInterrupt
    assert registry.new_version_path("sky") == path
    with Staging(path, {}, lambda text: None):
        # It is going on in another process, so a second import is one of its own.
        assert registry.new_version_path("sky@other") != path


def test_readers_never_see_a_name_without_a_version(root, publish):
    publish("sky", "v1"), publish("sky", "v2")
    stop, seen = threading.Event(), set()

    def look():
        while not stop.is_set():
            seen.add(registry.resolve("sky").name)

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(200):
        registry.use("sky", f"v{turn % 2 + 1}")
    stop.set()
    reader.join()
    assert seen <= {"v1", "v2"}
