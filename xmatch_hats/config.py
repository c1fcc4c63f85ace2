"""Where the user's catalogues live: one root folder, and homes elsewhere by name.

The root is ``XMATCH_HATS_CATALOGS``, else ``catalogs_root`` of the configuration file, else
``~/.local/share/xmatch-hats``. The configuration file is ``XMATCH_HATS_CONFIG``, else
``~/.config/xmatch-hats/config.toml``; a table ``[catalogs]`` in it adds homes: ``name = "path"``, and
``[findgsc]`` is for the program ``xmatch-hats-findgsc``.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xmatch_hats.errors import ConfigError

__all__ = ["CATALOGS_ENV", "CONFIG_ENV", "Config", "config_path", "load_config"]

CATALOGS_ENV = "XMATCH_HATS_CATALOGS"
CONFIG_ENV = "XMATCH_HATS_CONFIG"


@dataclass(frozen=True)
class Config:
    """The user's configuration, resolved."""

    catalogs_root: Path
    """Folder of named copies, laid out ``NAME/VERSION`` with a link ``NAME/current``."""
    homes: dict[str, Path] = field(default_factory=dict)
    """Copies kept elsewhere, by name."""
    source: str = "defaults"
    """What `catalogs_root` was taken from, for messages."""
    findgsc: dict[str, Any] = field(default_factory=dict)
    """Settings of the program that prints star catalogues, as they stand in the file."""


def config_path() -> Path:
    """Path of the configuration file, whether or not it exists."""
    given = os.environ.get(CONFIG_ENV)
    return Path(given).expanduser() if given else Path("~/.config/xmatch-hats/config.toml").expanduser()


def load_config() -> Config:
    """Read the configuration from the environment and the configuration file.

    Raises
    ------
    ConfigError
        The file is named by the environment and missing, is not TOML, or holds a value of the wrong type.
    """
    path = config_path()
    values = _read(path)
    homes = values.get("catalogs", {})
    if not isinstance(homes, dict) or not all(isinstance(home, str) for home in homes.values()):
        raise ConfigError("[catalogs] must map names to paths", place=path, hint='write name = "/path/to/copy"')
    findgsc = values.get("findgsc", {})
    if not isinstance(findgsc, dict):
        raise ConfigError("[findgsc] must be a table", place=path)
    root = values.get("catalogs_root")
    if root is not None and not isinstance(root, str):
        raise ConfigError("catalogs_root must be a string", place=path, value=root)
    resolved = {name: _expand(home, path.parent) for name, home in homes.items()}
    if given := os.environ.get(CATALOGS_ENV):
        return Config(Path(given).expanduser().absolute(), resolved, CATALOGS_ENV, findgsc)
    if root:
        return Config(_expand(root, path.parent), resolved, str(path), findgsc)
    return Config(Path("~/.local/share/xmatch-hats").expanduser(), resolved, findgsc=findgsc)


def _expand(value: str, base: Path) -> Path:
    """Paths in the file are relative to the file, so that it means the same from every folder."""
    return (base / Path(value).expanduser()).absolute()


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        if CONFIG_ENV in os.environ:
            raise ConfigError("the configuration file does not exist", place=path, hint=f"unset {CONFIG_ENV}") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a TOML file: {error}", place=path) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", place=path) from error


def __dir__() -> list[str]:
    return sorted(__all__)
