"""What is made for the site from the code: complete, and with nothing left out."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs.pages import DOCS, PAGES, Page, hooks
from xmatch_hats.catalogs.definition import Definition, load_definition
from xmatch_hats.step.settings.model import StepSettings
from xmatch_hats.step.settings.sources import gather

SETTINGS = {name.upper() for name in StepSettings.model_fields}
NAMED = re.compile(r"(?:CONSUMER|PRODUCER|DB|DASK|METRICS|TOPIC)_[A-Z_]+")


def test_every_setting_stands_in_one_table_with_its_meaning():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \| (.+) \|$", hooks().settings(), re.MULTILINE)
    assert sorted(environment for _, environment, _, _ in rows) == sorted(SETTINGS)
    assert all(name.upper() == environment and meaning.strip() for name, environment, _, meaning in rows)
    assert ("`5432`") in {default for _, environment, default, _ in rows if environment == "DB_PORT"}


def test_groups_of_settings_begin_with_settings():
    assert set(hooks().GROUPS) <= set(StepSettings.model_fields)


def test_entries_of_catalog_have_meanings():
    rows = re.findall(r"^\| `(\w+)` \| (\w*) ?\| (\S.*) \|$", hooks().catalog(), re.MULTILINE)
    assert [name for name, _, _ in rows] == ["name", "columns", "path", "radius"]


def test_commands_have_their_options():
    text = hooks().commands()
    assert "## xmatch-hats catalog side-copy\n" in text
    assert "| `--output-schema` `input\\|ztf-3.3` | `input` |" in text
    assert "| `--side-copy`, `--no-side-copy` | `--side-copy` |" in text
    assert "xmatch-hats bulk catalogs [OPTIONS] LEFT RIGHT" in text


def test_metrics_have_their_labels():
    text = hooks().metrics()
    assert "| `xmatch_hats_messages_in_total` | counter | `partition` | Messages consumed |" in text
    assert "| `xmatch_hats_partition_cache_hits_total` | counter |" in text


def test_metrics_that_pages_name_exist():
    known = set(re.findall(r"`(xmatch_hats_\w+)`", hooks().metrics()))
    named = {(str(page), name) for page in PAGES for name in re.findall(r"\bxmatch_hats_\w+(?=`|\))", page.prose)}
    assert {(page, name) for page, name in named if name not in known} == set()


@pytest.mark.parametrize("page", [page for page in PAGES if "results" not in str(page)], ids=str)
def test_settings_that_pages_name_exist(page):
    named = {span for span in page.spans() if NAMED.fullmatch(span)}
    known = SETTINGS | {f"{name}_FILE" for name in SETTINGS} | {"DB_ENGINE"}
    assert [name for name in sorted(named) if name not in known] == []


def test_a_mark_that_stands_for_nothing_is_noticed():
    with pytest.raises(KeyError):
        hooks().expand("<!-- made: nothing -->")


def test_definitions_that_are_shown_can_be_loaded(tmp_path):
    (text,) = Page(DOCS / "how-to" / "own-catalogue.md").blocks("toml")
    (tmp_path / "my.toml").write_text(text)
    assert isinstance(load_definition(tmp_path / "my.toml"), Definition)


def test_settings_files_that_are_shown_hold_settings(tmp_path):
    (text,) = Page(DOCS / "how-to" / "streaming.md").blocks("toml")
    tomllib.loads(text)
    (tmp_path / "password").write_text("secret")
    (tmp_path / "step.toml").write_text(text.replace("/run/secrets/db_password", str(tmp_path / "password")))
    given, problems = gather({}, tmp_path / "step.toml", {})
    assert problems == []
    assert {"consumer_topics", "catalog", "db_password", "consumer_conf"} <= given.keys()
