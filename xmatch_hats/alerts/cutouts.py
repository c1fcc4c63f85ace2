"""The images that an alert carries: gzipped FITS of today, JPEG of the first schemas of ZTF."""

from __future__ import annotations

import gzip
import io
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from xmatch_hats.alerts.packet import Alert, Packet
from xmatch_hats.alerts.plan import XMATCHES
from xmatch_hats.alerts.schema import plain_schema
from xmatch_hats.errors import PacketError

__all__ = ["CUTOUTS", "Cutout", "decode_record", "read_cutout"]

CUTOUTS = {"science": "cutoutScience", "template": "cutoutTemplate", "difference": "cutoutDifference"}
"""Fields of a record, by what people call them."""
_LARGEST = 1 << 26
"""Bytes of an image: 4,000 pixels square."""
_JPEG, _GZIP = b"\xff\xd8", b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Cutout:
    """One image around an alert."""

    image: NDArray[np.float64]
    """Rows from the first that is stored, shape (height, width); NaN where the detector ends."""
    kind: str
    """``FITS`` or ``JPEG``."""


def decode_record(packet: Packet, alert: Alert) -> dict[str, Any]:
    """Decode an alert of a packet wholly, but for `xmatches`.

    Raises
    ------
    PacketError
        It cannot be decoded.
    """
    schema = fastavro.parse_schema(plain_schema(packet.plan.root, frozenset({XMATCHES})))
    try:
        record = fastavro.schemaless_reader(io.BytesIO(b"".join(alert.chunks())), schema)
    except (EOFError, IndexError, ValueError, MemoryError) as error:
        raise PacketError(f"cannot be decoded: {error or type(error).__name__}") from error
    return dict(record)


def read_cutout(record: Mapping[str, Any], field: str) -> Cutout | None:
    """Read one of the images of a decoded alert; None if it has none.

    Parameters
    ----------
    record : mapping
    field : str
        See `CUTOUTS`.

    Raises
    ------
    PacketError
        The image is of another kind, damaged, or far too large.
    """
    stored = record.get(field)
    # LSST's alerts hold the bytes themselves.
    data = stored.get("stampData") if isinstance(stored, Mapping) else stored
    if not data:
        return None
    if not isinstance(data, bytes):
        raise PacketError(f"holds a {type(data).__name__}, not an image", place=field)
    if data.startswith(_JPEG):
        return Cutout(_read_jpeg(data, field), "JPEG")
    return Cutout(_read_fits(_unpacked(data, field), field), "FITS")


def _unpacked(data: bytes, field: str) -> bytes:
    if not data.startswith(_GZIP):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            plain = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PacketError(f"its image cannot be unpacked: {error}", place=field) from error
    if len(plain) > _LARGEST:
        raise PacketError(f"its image has more than {_LARGEST} bytes", place=field)
    return plain


def _read_fits(data: bytes, field: str) -> NDArray[np.float64]:
    from astropy.io import fits

    try:
        # Headers of ZTF's cutouts are not written quite as the standard has it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(data)) as units:
                image = next((unit.data for unit in units if unit.is_image and unit.data is not None), None)
                values = None if image is None else np.array(image, dtype=np.float64)
    except Exception as error:
        raise PacketError(f"its image is neither JPEG nor FITS: {error}", place=field) from error
    if values is None or values.ndim != 2 or not values.size:
        raise PacketError("its FITS file holds no image", place=field)
    return values


def _read_jpeg(data: bytes, field: str) -> NDArray[np.float64]:
    # Matplotlib brings it.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as file:
            if file.width * file.height > _LARGEST // 8:
                raise PacketError(f"its image has {file.width} x {file.height} pixels", place=field)
            return np.asarray(file.convert("L"), dtype=np.float64)
    except (OSError, SyntaxError, ValueError) as error:
        raise PacketError(f"its JPEG image is damaged: {error}", place=field) from error


def __dir__() -> list[str]:
    return sorted(__all__)
