"""Staging: one writer, resume or clean, one rename."""

from __future__ import annotations

import shutil

import pytest

from xmatch_hats.catalogs.staging import RECIPE, Staging, leftover_names, staging_folder
from xmatch_hats.errors import CatalogError


def work(out, recipe, said, *, publish=False):
    with Staging(out, recipe, said.append) as staging:
        found = sorted(path.name for path in staging.folder.iterdir())
        built = staging.path("copy")
        built.mkdir(exist_ok=True)
        (built / "data").write_text("x")
        if publish:
            staging.publish(built)
        return staging.resumed, found


def test_publishing_leaves_the_copy_alone(tmp_path):
    said = []
    assert work(tmp_path / "c", {"a": 1}, said, publish=True)[0] is False
    assert said == []
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert (tmp_path / "c" / "data").read_text() == "x"


def test_the_same_recipe_resumes_and_another_starts_clean(tmp_path):
    said = []
    work(tmp_path / "c", {"a": (1, 2)}, said)
    assert work(tmp_path / "c", {"a": [1, 2]}, said) == (True, ["copy", "lock", RECIPE])
    assert said == ["resuming the import that was interrupted"]
    assert work(tmp_path / "c", {"a": 3}, said) == (False, ["lock", RECIPE])
    assert "starting clean" in said[-1]
    assert list(leftover_names(tmp_path)) == ["c"]


@pytest.mark.parametrize(("work", "folder"), [("match", ".c.matching"), ("merge", ".c.merging")])
def test_work_has_its_words(tmp_path, work, folder):
    said = []
    for _ in range(2):
        with Staging(tmp_path / "c", {}, said.append, work=work) as staging:
            assert staging.folder.name == folder
    assert said == [f"resuming the {work} that was interrupted"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_torn_recipe_starts_clean(tmp_path, content):
    said = []
    work(tmp_path / "c", {"a": 1}, said)
    (staging_folder(tmp_path / "c") / RECIPE).write_bytes(content)
    assert work(tmp_path / "c", {"a": 1}, said)[0] is False
    assert "starting clean" in said[-1]


def test_an_existing_output_is_refused_and_unfinished_work_of_its_name_stays(tmp_path):
    said = []
    work(tmp_path / "c", {}, said)
    (tmp_path / "c").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        work(tmp_path / "c", {}, said)
    (tmp_path / "c").rmdir()
    assert work(tmp_path / "c", {}, said) == (True, ["copy", "lock", RECIPE])


def test_what_a_kill_after_publishing_leaves_is_removed(tmp_path):
    said = []
    folder = staging_folder(tmp_path / "c")
    with Staging(tmp_path / "c", {}, said.append) as staging:
        staging.path("copy").mkdir()
        staging.publish(staging.path("copy"))
        shutil.copytree(folder, tmp_path / "left")
    shutil.move(tmp_path / "left", folder)
    with pytest.raises(CatalogError, match="exists already"):
        work(tmp_path / "c", {}, said)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_refusal_leaves_nothing(tmp_path):
    (tmp_path / "c").mkdir()
    with pytest.raises(CatalogError, match="exists already"):
        work(tmp_path / "c", {}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path):
    with Staging(tmp_path / "c", {}, print) as staging:
        built = staging.path("copy")
        built.mkdir()
        (tmp_path / "c").mkdir()
        with pytest.raises(CatalogError, match="exists already"):
            staging.publish(built)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="cannot be written to"):
        work(tmp_path / "file" / "c", {}, [])
