"""Names of packets: relative, safe to write anywhere, and each used once."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

_MAX_PART = 200
"""Bytes of one part of a path; file systems allow 255, and a reason file and a number may follow."""


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
    return "/".join(parts) or "unnamed"


def _safe_part(part: str) -> str:
    part = "".join(char if char.isprintable() else "_" for char in part)
    encoded = part.encode("utf-8", "replace")
    if len(encoded) > _MAX_PART:
        digest = hashlib.sha256(encoded).hexdigest()[:16]
        suffix = PurePosixPath(part).suffix if len(PurePosixPath(part).suffix) < 16 else ""
        return encoded[: _MAX_PART - 40].decode("utf-8", "ignore") + f"-{digest}{suffix}"
    return encoded.decode()


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is hidden: what systems and editors leave behind, never a packet."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


class NameBook:
    """Gives every packet a name of its own.

    A name that was given before gets a number: ``a.avro``, ``a.2.avro``. Memory: some 100 bytes a name.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def claim(self, name: str) -> str:
        """Give a name, the asked one if it is free, and take it."""
        path = PurePosixPath(name)
        folders = [str(parent) for parent in path.parents if str(parent) != "."]
        if any(folder in self._files for folder in folders):
            # A file cannot be a folder too; archives can pretend so.
            path, folders = PurePosixPath(name.replace("/", "__")), []
        free, number = path, 1
        while str(free) in self._files or str(free) in self._folders:
            number += 1
            free = path.with_name(f"{path.stem}.{number}{path.suffix}")
        self._files.add(str(free))
        self._folders.update(folders)
        return str(free)
