"""The archive of the packets with ``xmatches``: written whole, and known again by what was noted of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xmatch_hats.catalogs.manifest import HASH_BLOCK_BYTES, sha256_file
from xmatch_hats.whole import written_whole

PACKETS = "packets.json"
"""Notes with its size and checksum."""
CHECKED_BYTES = 256 << 20
"""Larger archives are known by their size: to read one takes as long as it may have taken to make it."""


def write_packets(target: Path, parts: Iterable[Path], note: Path) -> None:
    """Put the packets of slices together, as one archive.

    Parameters
    ----------
    target : Path
        A file of this name is replaced.
    parts : iterable of Path
        Of all slices, in order.
    note : Path
        Size and checksum go there before the archive has its name, so that whatever kills this call, the next one
        knows it again.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    scratch = target.parent / f".{target.name}.partial"
    # Of a call that was killed.
    shutil.rmtree(scratch, ignore_errors=True)
    digest, size = hashlib.sha256(), 0
    try:
        with written_whole(target, scratch) as file:
            for data in _blocks(parts):
                digest.update(data)
                size += file.write(data)
            with written_whole(note, note.parent / "scratch") as notes:
                notes.write(json.dumps({"bytes": size, "sha256": digest.hexdigest()}).encode())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _blocks(parts: Iterable[Path]) -> Iterable[bytes]:
    for path in parts:
        with path.open("rb") as part:
            while block := part.read(HASH_BLOCK_BYTES):
                yield block
    # What ends a tar archive.
    yield gzip.compress(bytes(1024), mtime=0)


def is_noted(target: Path, note: Mapping[str, Any] | None) -> bool:
    """Whether a file is the archive that was noted: by its size and, up to `CHECKED_BYTES`, by its checksum."""
    try:
        size = target.stat().st_size
        if note is None or size != note["bytes"]:
            return False
        return size > CHECKED_BYTES or sha256_file(target) == note["sha256"]
    except (OSError, KeyError):
        return False
