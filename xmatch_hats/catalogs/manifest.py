"""The manifest of a local copy: what it was made of, how, and the checksum of every file.

It is the file ``xmatch_hats.json`` in the copy's folder, beside ``collection.properties``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xmatch_hats.errors import CatalogError

MANIFEST_NAME = "xmatch_hats.json"
UNFINISHED_NAME = f".{MANIFEST_NAME}.new"
HASH_BLOCK_BYTES = 1 << 20

SIDE_COPY_NAME = "side_copy"
SIDE_COPY_WORK = ".side_copy"
"""Folders of a copy with what is derived from its files, finished and not: see `xmatch_hats.catalogs.side_copy`."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceRecord(_Record):
    """One input file of an import, or one remote place of a pull."""

    path: str
    """Path or URL."""
    bytes: int
    sha256: str | None = None
    """Hexadecimal; None for a remote place, whose bytes were not all read."""
    rows: int | None = None


class FileRecord(_Record):
    """One file of the copy."""

    bytes: int
    sha256: str


class DroppedRows(_Record):
    """Rows of the sources that have no position on the sphere and are therefore not in the copy."""

    count: int = 0
    places: tuple[str, ...] = ()
    """The first of them: file, row number (from 1) and reason."""


class CoverageRecord(_Record):
    """Summary of the coverage map that is stored beside the manifest."""

    kind: str
    estimated: bool
    sky_fraction: float
    order: int | None = None
    source: str = ""
    """What the map was made from, for people."""


class Manifest(_Record):
    """Everything known about a copy beyond its HATS files."""

    format: Literal[1] = 1
    uuid: str = Field(default_factory=lambda: str(uuid4()))
    """Identity of the copy: another import gives another one, even of the same rows."""
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    software: dict[str, str]
    """Versions of this package and of the libraries that wrote the files."""
    name: str
    """Name of the definition, else of the output folder."""
    definition: dict[str, Any] | None
    """Snapshot of the definition, so that the copy means the same when definitions change."""
    sources: tuple[SourceRecord, ...]
    settings: dict[str, Any]
    """Arguments of the import or pull."""
    rows: int
    dropped: DroppedRows = DroppedRows()
    id_column: str | None
    """Column that orders rows at equal distance."""
    margin_arcsec: float
    coverage: CoverageRecord
    self_check: dict[str, Any] | None
    files: dict[str, FileRecord]
    """By path relative to the copy's folder, the manifest itself apart."""
    checksum: str = ""
    """SHA-256 of all of the above, set by `write`; it is what `expected_checksum` gives of an intact manifest."""

    def __repr__(self) -> str:
        return f"<Manifest {self.name}: {self.rows:,} rows, {len(self.files):,} files, created {self.created}>"

    @property
    def expected_checksum(self) -> str:
        """SHA-256 of everything but the checksum itself."""
        return hashlib.sha256(self.model_dump_json(exclude={"checksum"}).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write the manifest into a copy's folder, whole or not at all."""
        temporary = folder / UNFINISHED_NAME
        with temporary.open("w", encoding="utf-8") as file:
            file.write(self.model_copy(update={"checksum": self.expected_checksum}).model_dump_json(indent=1))
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / MANIFEST_NAME)

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove a folder's manifest, finished or not, if it has one."""
        for name in (MANIFEST_NAME, UNFINISHED_NAME):
            (folder / name).unlink(missing_ok=True)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Read the manifest of a copy's folder; None where there is none.

        Raises
        ------
        CatalogError
            The file is there but is not a manifest of this format.
        """
        path = folder / MANIFEST_NAME
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CatalogError(f"the manifest cannot be read: {error.strerror}", place=path) from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise CatalogError(
                f"is not a manifest that this version understands: {where} {first['msg']}".replace("  ", " "),
                place=path,
                hint="import the catalogue again",
            ) from error


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks of one MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def copy_files(folder: Path) -> Iterator[Path]:
    """Every file of a copy except its manifest and its side copy, in a fixed order, relative to `folder`."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if relative.parts[0] in (SIDE_COPY_NAME, SIDE_COPY_WORK):
            continue
        if path.is_file() and relative.as_posix() != MANIFEST_NAME:
            yield relative


def hash_files(folder: Path) -> dict[str, FileRecord]:
    """Size and checksum of the files that `copy_files` gives, by relative path."""
    return {
        path.as_posix(): FileRecord(bytes=(folder / path).stat().st_size, sha256=sha256_file(folder / path))
        for path in copy_files(folder)
    }
