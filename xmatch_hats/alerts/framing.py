"""Messages of a stream, by what stands before the record: a container, the number of a schema, or its fingerprint."""

from __future__ import annotations

from xmatch_hats.alerts.container import MAGIC
from xmatch_hats.alerts.fingerprint import FINGERPRINT_BYTES
from xmatch_hats.alerts.packet import Packet, PacketReader
from xmatch_hats.alerts.registry import NoSchemas, SchemaSource
from xmatch_hats.errors import PacketError

_WIRE = b"\0"
_WIRE_BYTES = 5
"""A zero, and the schema's number in four bytes, the high one first."""
_SINGLE = b"\xc3\x01"
_SINGLE_BYTES = len(_SINGLE) + FINGERPRINT_BYTES
_READABLE = "readable are Avro containers, and single records behind a schema id or a schema fingerprint"
_STRANGERS = {
    b"\x1f\x8b": "is compressed with gzip",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd",
    b"PK": "is a zip archive",
    b"<": "looks like HTML or XML",
    b"{": "looks like JSON",
    b"[": "looks like JSON",
}
_MAX_BLANKS = 64


class MessageReader:
    """Reads the messages of a stream, each of which holds one alert.

    Parameters
    ----------
    reader : PacketReader
        With the limits for messages.
    schemas : SchemaSource, optional
        Where the schemas of bare records come from; by default none is known.
    """

    def __init__(self, reader: PacketReader, schemas: SchemaSource | None = None) -> None:
        self._reader = reader
        self._schemas = schemas or NoSchemas()

    def read(self, data: bytes) -> Packet:
        """Read one message.

        Parameters
        ----------
        data : bytes
            An Avro object container of one record; or a zero byte, four bytes of a schema's number, and the record; or
            ``C3 01``, the eight bytes of a schema's fingerprint, and the record.

        Returns
        -------
        Packet
            Of one alert; what was no container is one from here on.

        Raises
        ------
        PacketError
            The message cannot be used; `UnknownSchemaError` where nobody knows its schema.
        RegistryError
            Its schema cannot be asked for now. Nothing else is raised, whatever the bytes.
        """
        if data.startswith(MAGIC):
            packet = self._reader.read(data)
            if len(packet.alerts) != 1:
                raise PacketError(f"holds {len(packet.alerts)} records; a message holds one")
            return packet
        if data.startswith(_SINGLE):
            return self._read_single(data)
        if data.startswith(_WIRE) and not _is_zeros(data):
            return self._read_wire(data)
        raise PacketError(_describe(data), hint=_READABLE)

    def _read_wire(self, data: bytes) -> Packet:
        if len(data) < _WIRE_BYTES:
            raise PacketError("ends in the middle of a schema id", place="byte 1")
        number = int.from_bytes(data[len(_WIRE) : _WIRE_BYTES], "big")
        return self._read_record(self._schemas.schema(number), data, _WIRE_BYTES, f"schema id {number}")

    def _read_single(self, data: bytes) -> Packet:
        if len(data) < _SINGLE_BYTES:
            raise PacketError("ends in the middle of a schema fingerprint", place=f"byte {len(_SINGLE)}")
        fingerprint = data[len(_SINGLE) : _SINGLE_BYTES]
        text = self._schemas.by_fingerprint(fingerprint)
        return self._read_record(text, data, _SINGLE_BYTES, f"schema fingerprint {fingerprint.hex()}")

    def _read_record(self, schema: bytes, data: bytes, start: int, name: str) -> Packet:
        try:
            return self._reader.read_record(schema, data, start)
        except PacketError as error:
            # A container shows its schema; here the reason has to name it.
            place = f"{name}, {error.place}" if error.place else name
            raise PacketError(error.message, place=place, hint=error.hint, value=error.value) from error


def _is_zeros(data: bytes) -> bool:
    return not any(data[:_WIRE_BYTES]) and data.count(0) == len(data)


def _describe(data: bytes) -> str:
    """What a message is that is none of those that are read."""
    if not data:
        return "is empty"
    if MAGIC.startswith(data):
        return "ends within the first bytes of an Avro container"
    if _is_zeros(data):
        return f"holds nothing but zeros, {len(data)} bytes"
    # Text may begin with a mark of its encoding, and with blank lines.
    start = data[:_MAX_BLANKS].removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, description in _STRANGERS.items():
        if start.startswith(magic):
            return description
    return f"is no Avro message; it begins with {data[:8].hex(' ')}"
