"""Named copies and their versions: ``ROOT/NAME/VERSION/`` with a link ``ROOT/NAME/current``.

A name leads to the version that ``current`` points at. Switching, and rolling back, is one atomic rename of a fresh
link over the old one: readers see the old version or the new one, and open copies stay on the version they opened.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xmatch_hats.catalogs import layout
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.staging import leftover_names
from xmatch_hats.config import Config, load_config
from xmatch_hats.errors import CatalogError, CatalogNotFoundError, UsageError

__all__ = [
    "CURRENT",
    "Entry",
    "after_publish",
    "is_folder_argument",
    "is_registered",
    "list_copies",
    "new_version_path",
    "resolve",
    "split_name",
    "use",
]

log = logging.getLogger(__name__)

CURRENT = "current"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Entry:
    """One copy that a name leads to."""

    name: str
    version: str | None
    """None for a home named in the configuration file."""
    path: Path
    current: bool
    """Whether the bare name leads here."""

    def open(self) -> LocalCopy:
        """Open the copy; raises what `LocalCopy.open` raises."""
        return LocalCopy.open(self.path)


def split_name(text: str) -> tuple[str, str | None]:
    """Split ``NAME`` or ``NAME@VERSION`` and check both parts.

    Raises
    ------
    UsageError
        A part is empty, hidden, ``current``, or has characters that do not belong into a folder name.
    """
    name, at, version = text.partition("@")
    for part, what in ((name, "name"), (version, "version")):
        if what == "version" and not at:
            continue
        if not _NAME.fullmatch(part) or part == CURRENT:
            raise UsageError(
                f"{part!r} cannot be the {what} of a catalogue",
                hint="use letters, digits and . _ + - after a first letter or digit; 'current' is taken",
                value=text,
            )
    return name, version if at else None


def is_folder_argument(argument: str | Path) -> bool:
    """Whether an argument means a folder: it has a slash or names an existing folder. Otherwise it is a name."""
    return isinstance(argument, Path) or "/" in argument or Path(argument).is_dir()


def resolve(name_or_path: str | Path) -> Path:
    """Folder that an argument means: a DIR, ``NAME`` or ``NAME@VERSION``.

    A name is resolved to the version's own folder, so that a later switch does not pull it away under a reader.

    Raises
    ------
    CatalogNotFoundError
        No copy has the name or the version.
    CatalogError
        The name is both under the root and in the configuration file.
    UsageError
        It is no text and no path, or cannot be a name.
    """
    given: object = name_or_path
    if not isinstance(given, str | Path):
        raise UsageError(
            f"a {type(given).__name__} names no catalogue", hint="give the name or the folder of a copy", value=given
        )
    if is_folder_argument(name_or_path):
        return Path(name_or_path).expanduser().absolute()
    name, version = split_name(str(name_or_path))
    config = load_config()
    folder, home = config.catalogs_root / name, config.homes.get(name)
    if home is not None and folder.is_dir():
        raise CatalogError(
            f"the name {name} is ambiguous: it is in the configuration file and under {config.catalogs_root}",
            hint="remove one of the two",
            value=name,
        )
    if home is not None and version is None:
        return home
    if not folder.is_dir():
        raise _no_name(name, "" if home is None else f" with a version {version}")
    version = version or _current(folder)
    if version is None or not (folder / version).is_dir():
        raise _no_version(folder, version)
    return folder / version


def list_copies() -> list[Entry]:
    """Every named copy: those under the root by name and version, then the homes of the configuration file."""
    config = load_config()
    entries = []
    if config.catalogs_root.is_dir():
        for folder in sorted(config.catalogs_root.iterdir()):
            if folder.is_dir() and _NAME.fullmatch(folder.name):
                current = _current(folder)
                entries += [
                    Entry(folder.name, version, folder / version, version == current) for version in _versions(folder)
                ]
    entries += [Entry(name, None, path, True) for name, path in sorted(config.homes.items())]
    return entries


def use(name: str, version: str) -> Path:
    """Make a version the one that its name leads to.

    Returns
    -------
    Path
        Folder of the version.

    Raises
    ------
    CatalogNotFoundError, CatalogError
        There is no such version, or it is damaged; the old one stays.
    """
    split_name(f"{name}@{version}")
    config = load_config()
    if name in config.homes:
        raise UsageError(
            f"{name} is a home in the configuration file and has no versions", hint="change its path there", value=name
        )
    folder = config.catalogs_root / name
    target = folder / version
    if not folder.is_dir():
        raise _no_name(name)
    if not target.is_dir():
        raise _no_version(folder, version)
    LocalCopy.open(target)
    _switch(folder, version)
    return target


def new_version_path(text: str) -> Path:
    """Folder for a new version of ``NAME`` or ``NAME@VERSION``; the version is the UTC time by default.

    An interrupted import of the same name without a given version is taken up under the version it had.

    Raises
    ------
    CatalogError
        The version exists.
    """
    name, version = split_name(text)
    config: Config = load_config()
    if name in config.homes:
        raise UsageError(
            f"{name} is a home in the configuration file", hint="choose another name, or remove it there", value=name
        )
    folder = config.catalogs_root / name
    if version is None:
        version = next(iter(leftover_names(folder)), None) or _fresh_version(folder)
    if (folder / version).exists():
        raise CatalogError(f"{name} has a version {version} already", place=folder / version, hint="choose another")
    return folder / version


def after_publish(path: Path) -> bool:
    """Make a newly published version current if its name has none yet.

    Returns
    -------
    bool
        Whether it became current; otherwise it waits for `use`.
    """
    link = path.parent / CURRENT
    if _current(path.parent) is not None:
        return False
    try:
        link.symlink_to(path.name)
    except FileExistsError:
        # A dangling link (its version was deleted), or another import came first.
        if _current(path.parent) is not None:
            return False
        _switch(path.parent, path.name)
    return True


def is_registered(path: Path) -> bool:
    """Whether a folder lies where named copies lie."""
    return path.parent.parent == load_config().catalogs_root


def _switch(folder: Path, version: str) -> None:
    fresh = folder / f".{CURRENT}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version)
    fresh.replace(folder / CURRENT)
    log.info("%s is now at version %s", folder.name, version)


def _current(folder: Path) -> str | None:
    """Version that the link of a name points at, None without a link or where it points at nothing."""
    link = folder / CURRENT
    if not link.is_symlink():
        return None
    version = os.readlink(link)
    return version if _NAME.fullmatch(version) and (folder / version).is_dir() else None


def _versions(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name != CURRENT
        and _NAME.fullmatch(path.name)
        and (layout.is_collection(path) or layout.is_catalog(path))
    )


def _fresh_version(folder: Path) -> str:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    version, number = stamp, 2
    while (folder / version).exists():
        version, number = f"{stamp}-{number}", number + 1
    return version


def _no_name(name: str, more: str = "") -> CatalogNotFoundError:
    known = sorted({entry.name for entry in list_copies()})
    return CatalogNotFoundError(
        f"no catalogue is named {name}{more}",
        place=load_config().catalogs_root,
        hint=f"there are {', '.join(known)}" if known else "make one with `xmatch-hats catalog import`",
        value=name,
    )


def _no_version(folder: Path, version: str | None) -> CatalogNotFoundError:
    versions = _versions(folder)
    missing = "has no current version" if version is None else f"has no version {version}"
    if not versions:
        hint = "make one with `xmatch-hats catalog import`"
    elif version is None:
        hint = f"choose with `xmatch-hats catalog use {folder.name} {versions[-1]}`"
    else:
        hint = f"there are {', '.join(versions)}"
    return CatalogNotFoundError(f"{folder.name} {missing}", place=folder, hint=hint, value=version)


def __dir__() -> list[str]:
    return sorted(__all__)
