"""Where the writer schemas of bare records come from: a folder, a schema registry, or both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from xmatch_hats.alerts.fingerprint import schema_fingerprint
from xmatch_hats.alerts.limits import FILE_LIMITS
from xmatch_hats.alerts.schema import load_schema, parse_schema
from xmatch_hats.errors import ConfigError, PacketError, RegistryError, UnknownSchemaError

SUFFIXES = (".avsc", ".json")
"""Of schema files."""


class SchemaSource(Protocol):
    """Knows writer schemas by what messages call them; one thread at a time may use it."""

    def schema(self, number: int) -> bytes:
        """Give the JSON text of the schema that a registry has numbered.

        Raises
        ------
        UnknownSchemaError
            Nobody knows it.
        PacketError
            It is no Avro schema, or not a whole one.
        RegistryError
            It cannot be asked for now.
        """

    def by_fingerprint(self, fingerprint: bytes) -> bytes:
        """Give the JSON text of the schema with a CRC-64-AVRO fingerprint, eight bytes in the order of the wire.

        Raises
        ------
        UnknownSchemaError
            Nobody knows it.
        RegistryError
            It cannot be asked for now.
        """


class NoSchemas:
    """Where neither a folder nor a registry is set: nothing is known."""

    _HINT = "set SCHEMA_REGISTRY_URL or SCHEMA_DIR"

    def schema(self, number: int) -> bytes:
        """Tell what to set."""
        raise unknown_number(number, self._HINT)

    def by_fingerprint(self, fingerprint: bytes) -> bytes:
        """Tell what to set."""
        raise unknown_fingerprint(fingerprint, "set SCHEMA_DIR")


class FolderSchemas:
    """A folder of schema files: ``7.avsc`` or ``7.json`` is schema 7, and any of them is known by its fingerprint.

    Every file is a whole schema, all its types in it. Files that are added, changed or removed are noticed at the next
    message that asks for them; rename a finished file into place, or a message may meet half of it.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ConfigError
        There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError("is not a folder", place=f"SCHEMA_DIR {folder}", value=str(folder))
        self.folder = folder
        self._files: dict[Path, _SchemaFile] = {}

    def schema(self, number: int) -> bytes:
        """Give the text of ``<number>.avsc`` or ``<number>.json``, whatever it is."""
        for suffix in SUFFIXES:
            file = self._load(self.folder / f"{number}{suffix}")
            if file is not None:
                return file.text
        raise unknown_number(number, f"put {number}{SUFFIXES[0]} into {self.folder}")

    def by_fingerprint(self, fingerprint: bytes) -> bytes:
        """Give the text of the file with a fingerprint; files that are no schemas have none."""
        for path in self._paths():
            file = self._load(path)
            if file is not None and file.fingerprint == fingerprint:
                return file.text
        raise unknown_fingerprint(fingerprint, f"put its schema into {self.folder}")

    def _paths(self) -> Iterator[Path]:
        try:
            names = sorted(os.listdir(self.folder))
        except OSError as error:
            raise RegistryError(f"cannot be read: {error.strerror}", place=f"SCHEMA_DIR {self.folder}") from error
        return (self.folder / name for name in names if name.endswith(SUFFIXES))

    def _load(self, path: Path) -> _SchemaFile | None:
        """A file as it is now, None where there is none."""
        try:
            now = path.stat()
            version = (now.st_ino, now.st_size, now.st_mtime_ns)
            file = self._files.get(path)
            if file is None or file.version != version:
                with path.open("rb") as stream:
                    # One byte beyond the limit is enough for the text to be refused.
                    file = _SchemaFile(version, stream.read(FILE_LIMITS.schema_bytes + 1))
                self._files[path] = file
        except FileNotFoundError as error:
            self._files.pop(path, None)
            if not self.folder.is_dir():
                raise RegistryError("is not there any more", place=f"SCHEMA_DIR {self.folder}") from error
            return None
        except OSError as error:
            raise RegistryError(f"cannot be read: {error.strerror}", place=path) from error
        return file


class _SchemaFile:
    def __init__(self, version: tuple[int, int, int], text: bytes) -> None:
        self.version = version
        self.text = text

    @cached_property
    def fingerprint(self) -> bytes | None:
        try:
            return schema_fingerprint(parse_schema(load_schema(self.text, FILE_LIMITS), FILE_LIMITS))
        except (PacketError, ValueError):
            # No schema, or names with half a character in them, which have no bytes.
            return None


class ChainedSchemas:
    """Several sources, asked in order until one knows.

    Parameters
    ----------
    sources : sequence of SchemaSource
        One at least.
    """

    def __init__(self, sources: Sequence[SchemaSource]) -> None:
        self._sources = tuple(sources)

    def schema(self, number: int) -> bytes:
        """Give the first answer."""
        hints = []
        for source in self._sources:
            try:
                return source.schema(number)
            except UnknownSchemaError as error:
                hints.append(error.hint)
        raise unknown_number(number, ", or ".join(hints))

    def by_fingerprint(self, fingerprint: bytes) -> bytes:
        """Give the first answer."""
        hints = []
        for source in self._sources:
            try:
                return source.by_fingerprint(fingerprint)
            except UnknownSchemaError as error:
                hints.append(error.hint)
        raise unknown_fingerprint(fingerprint, ", or ".join(filter(None, hints)))


def unknown_number(number: int, hint: str) -> UnknownSchemaError:
    """The error for a schema number that a source does not know."""
    return UnknownSchemaError(f"unknown schema id {number}", hint=hint, value=number)


def unknown_fingerprint(fingerprint: bytes, hint: str) -> UnknownSchemaError:
    """The error for a fingerprint that a source does not know."""
    return UnknownSchemaError(f"unknown schema fingerprint {fingerprint.hex()}", hint=hint, value=fingerprint.hex())
