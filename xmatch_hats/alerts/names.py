"""Names of packets: relative, safe to write anywhere, and each used once."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

_MAX_PART = 200
"""Bytes of one part of a path; file systems allow 255, and a reason file and a number may follow."""
_MAX_PARTS, _MAX_NAME = 32, 1024
"""Parts and bytes of a whole name; file systems allow 4096 bytes, and the folder that is written to comes before."""


def safe_name(name: str) -> str:
    """Make a member's name a relative path below whatever folder it is written to.

    Parameters
    ----------
    name : str
        As an archive has it: absolute, with ``..``, control characters, undecodable bytes or overlong, as it may be.

    Returns
    -------
    str
        The name itself where there is nothing to mend.
    """
    parts = [_safe_part(part) for part in name.split("/") if part not in ("", ".", "..")]
    safe = "/".join(parts) or "unnamed"
    if len(parts) > _MAX_PARTS or len(safe.encode()) > _MAX_NAME:
        return f"{_digest(safe.encode())}/{parts[-1]}"
    return safe


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _safe_part(part: str) -> str:
    if not part.isprintable():
        part = "".join(char if char.isprintable() else "_" for char in part)
    encoded = part.encode("utf-8", "replace")
    if len(encoded) > _MAX_PART:
        suffix = PurePosixPath(part).suffix if len(PurePosixPath(part).suffix) < 16 else ""
        return encoded[: _MAX_PART - 40].decode("utf-8", "ignore") + f"-{_digest(encoded)}{suffix}"
    return encoded.decode()


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is hidden: what systems and editors leave behind, never a packet."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


class NameBook:
    """Gives every packet a name of its own.

    A name that was given before gets a number: ``a.avro``, ``a.2.avro``. Memory: some 100 bytes a name.
    """

    def __init__(self) -> None:
        # A file's name, and the last number tried for it: an archive may hold one name a hundred thousand times.
        self._files: dict[str, int] = {}
        self._folders: set[str] = set()

    def claim(self, name: str) -> str:
        """Give a name, the asked one if it is free, and take it."""
        folder = name.rpartition("/")[0]
        if (not folder or folder in self._folders) and name not in self._files and name not in self._folders:
            # Nearly always, and a tenth of the time of what follows.
            self._files[name] = 1
            return name
        path = PurePosixPath(name)
        folders = [str(parent) for parent in path.parents if str(parent) != "."]
        if any(folder in self._files for folder in folders):
            # A file cannot be a folder too; archives can pretend so.
            path, folders = PurePosixPath(name.replace("/", "__")), []
        asked = free = str(path)
        number = self._files.get(asked, 1)
        while free in self._files or free in self._folders:
            number += 1
            free = str(path.with_name(f"{path.stem}.{number}{path.suffix}"))
        if asked in self._files:
            self._files[asked] = number
        self._files[free] = 1
        self._folders.update(folders)
        return free
