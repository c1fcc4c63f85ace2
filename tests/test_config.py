from pathlib import Path

import pytest

from xmatch_hats.config import load_config
from xmatch_hats.errors import ConfigError


@pytest.fixture
def config_file(tmp_path, monkeypatch):
    path = tmp_path / "settings" / "config.toml"
    path.parent.mkdir()
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(path))
    return path


def test_defaults(monkeypatch):
    assert load_config().catalogs_root == Path("~/.local/share/xmatch-hats").expanduser()
    assert load_config().homes == {}


def test_file_gives_root_and_homes_relative_to_itself(config_file):
    config_file.write_text('catalogs_root = "sky"\n[catalogs]\nallwise = "/data/allwise"\nmine = "../mine"\n')
    config = load_config()
    assert config.catalogs_root == config_file.parent / "sky"
    assert config.homes["allwise"] == Path("/data/allwise")
    assert config.homes["mine"].resolve() == (config_file.parents[1] / "mine").resolve()


def test_environment_wins(config_file, monkeypatch, tmp_path):
    config_file.write_text('catalogs_root = "sky"\n')
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "other"))
    assert load_config().catalogs_root == tmp_path / "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("catalogs_root = ", "not a TOML file"),
        ("catalogs_root = 3", "catalogs_root must be a string"),
        ("catalogs = 3", r"\[catalogs\] must map names to paths"),
        ("[catalogs]\nallwise = 3", r"\[catalogs\] must map names to paths"),
    ],
)
def test_faults_name_the_file(config_file, text, message):
    config_file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config()
    assert str(config_file) in str(caught.value)


def test_a_named_file_must_exist(config_file):
    with pytest.raises(ConfigError, match="does not exist"):
        load_config()


def test_a_folder_is_not_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config()
