"""One number for the rows of a copy: the bytes of all its partition files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def data_digest(folder: Path) -> str:
    """SHA-256 over names and bytes of the partition files of main table and margin."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("Npix=*.parquet")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
