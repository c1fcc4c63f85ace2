"""The errors of this package: one root, typed children.

Every error says what is wrong, where, and what to do about it; the command line prints exactly that, without a
traceback, and exits with the error's ``exit_code``.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AccountError",
    "BrokerError",
    "CatalogError",
    "CatalogNotFoundError",
    "ConfigError",
    "CoverageError",
    "DefinitionError",
    "ImageError",
    "OutputError",
    "PacketError",
    "PartitionReadError",
    "PositionError",
    "RadiusError",
    "RegistryError",
    "RemoteError",
    "SelfCheckError",
    "StoreError",
    "SystemFailure",
    "TableError",
    "UnknownSchemaError",
    "UsageError",
    "XmatchError",
]


class XmatchError(Exception):
    """The root of every error that this package raises on purpose.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence without a final stop.
    place : object, optional
        Where: a file, a column, a row, a setting, a partition.
    hint : str, optional
        The way out, in one sentence without a final stop.
    value : object, optional
        The offending value, for programs; the message names it for people.

    Examples
    --------
    >>> print(XmatchError("exists already", place="out.fits", hint="choose another"))
    out.fits: exists already (choose another)
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, place: object = None, hint: str = "", value: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = None if place is None else str(place)
        self.hint = hint
        self.value = value

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        way_out = f" ({self.hint})" if self.hint else ""
        return f"{where}{self.message}{way_out}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments are lost by the default pickling, and these errors cross process borders.
        return (_rebuild, (type(self), self.message, self.place, self.hint, self.value))


def _rebuild(kind: type[XmatchError], message: str, place: str | None, hint: str, value: Any) -> XmatchError:
    error = kind.__new__(kind)
    XmatchError.__init__(error, message, place=place, hint=hint, value=value)
    return error


class UsageError(XmatchError):
    """An argument or a combination of arguments that cannot mean anything."""

    exit_code = 2


class ConfigError(XmatchError):
    """A setting in the environment or a configuration file that is wrong."""

    exit_code = 2


class TableError(XmatchError):
    """A table that cannot be read, written, or lacks what is asked of it."""


class ImageError(XmatchError):
    """An image that cannot be read, or that does not tell where on the sky it lies."""


class DefinitionError(XmatchError):
    """A catalogue definition that is malformed, or does not fit its source."""


class SelfCheckError(DefinitionError):
    """A source whose values contradict its definition, for instance columns shifted by one."""


class CatalogError(XmatchError):
    """A local copy of a catalogue that is missing, incomplete or not what it says."""


class CatalogNotFoundError(CatalogError):
    """No local copy has the name, or lies in the folder, that was asked for."""


class PartitionReadError(CatalogError):
    """A partition of a copy that cannot be read: the whole batch fails, and nothing is called unmatched."""


class CoverageError(CatalogError):
    """A coverage map that cannot be read, or does not fit its copy."""


class RemoteError(XmatchError):
    """A remote catalogue that cannot be reached or read, after retries."""


class RadiusError(UsageError):
    """A search radius that is not positive, or larger than the margin of the copy it searches."""


class PositionError(UsageError):
    """A position that is not on the sphere, where a single one is asked for."""


class PacketError(XmatchError):
    """An alert packet that cannot be read safely; it is set aside untouched and the stream goes on."""


class UnknownSchemaError(PacketError):
    """A packet that names its writer schema by a number or a fingerprint that nobody knows."""


class SystemFailure(XmatchError):  # noqa: N818, nobody's error
    """Something that a running step depends on does not work.

    It is waited for and tried again, and never held against a packet.
    """


class StoreError(SystemFailure):
    """A database that cannot be reached, lacks a table, or refuses what is written."""


class BrokerError(SystemFailure):
    """A Kafka broker that cannot be reached, or refuses what is asked of it."""


class RegistryError(SystemFailure):
    """A schema registry that cannot be reached, or answers nonsense."""


class OutputError(XmatchError):
    """An output that cannot be written: the disk is full, or closed to writing; work on it stops."""


class AccountError(XmatchError):
    """The counts of a batch do not add up: a fault of this program, at which it stops rather than lose an alert."""


def __dir__() -> list[str]:
    return sorted(__all__)
