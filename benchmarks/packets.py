"""Packets to send through the step, and the catalogue around them.

Real packets where they are at hand, made ones else; many are made of few by writing another ``candid`` into copies.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from benchmarks import skies
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.importer import build_copy
from xmatch_hats.demo.letters import designations
from xmatch_hats.demo.sky import SkyBox, make_sky
from xmatch_hats.tables.write import write_table

REAL_PACKETS = Path(__file__).parents[2] / "shared" / "data" / "ztf_alerts"
OFFSET_DEG = 0.2 / 3600
BOXES = (SkyBox(8.0, 16.5, -14.0, -5.5), SkyBox(111.0, 118.5, 22.0, 24.8))
"""Where the real exposures lie: here the catalogue has ALLWISE's density, elsewhere it is thin."""


def packets_of(place: Path = REAL_PACKETS) -> list[bytes]:
    """Native packets: one uncompressed record each; made ones where there are none."""
    found = []
    for path in sorted(place.rglob("*.avro")):
        data = path.read_bytes()
        reader = fastavro.reader(io.BytesIO(data))
        is_native = reader.metadata.get("avro.codec", "null") == "null" and "topLevelRecord" not in str(
            reader.writer_schema["name"]
        )
        records = list(reader)
        if is_native and len(records) == 1 and "objectId" in records[0]:
            found.append(data)
    return found or _made_packets()


def _made_packets() -> list[bytes]:
    from xmatch_hats.demo.exposure import make_exposure
    from xmatch_hats.demo.packets import packet_bytes

    sky = make_sky(100_000, seed=1, box=BOXES[0])
    return list(packet_bytes(make_exposure(sky, BOXES[0], alerts=400)))


def copies(packets: Sequence[bytes], count: int) -> Iterator[tuple[bytes, str]]:
    """So many packets with a ``candid`` of their own, and the ``objectId`` of each.

    The number is written over in the bytes, at the same length: everything else stays as the survey made it.
    """
    known = []
    for packet in packets:
        record = first_record(packet)
        number = int(candid_of(record))
        known.append((packet, number, _zigzag(number), record["objectId"]))
    seen = set()
    for position in range(count):
        packet, number, old, name = known[position % len(known)]
        other = number + position // len(known) * 10_000_000_000
        new = _zigzag(other)
        if len(new) != len(old) or old not in packet or other in seen:
            raise ValueError(f"packet {number} cannot be given the number {other}")
        seen.add(other)
        yield packet.replace(old, new), name


def first_record(packet: bytes) -> dict[str, Any]:
    """The packet, decoded by fastavro."""
    record: dict[str, Any] = next(fastavro.reader(io.BytesIO(packet)))
    return record


def candid_of(record: dict[str, Any]) -> int:
    """Number of the alert; early packets keep it in the candidate alone."""
    return int(record.get("candid", record["candidate"].get("candid")))


def _zigzag(number: int) -> bytes:
    value, out = (number << 1) ^ (number >> 63), bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def write_folder(packets: Sequence[bytes], count: int, folder: Path) -> Path:
    """One file a packet, made once."""
    if not folder.is_dir():
        partial = folder.with_name(f"{folder.name}.part")
        partial.mkdir(parents=True, exist_ok=True)
        for number, (packet, _) in enumerate(copies(packets, count)):
            (partial / f"{number:06d}.avro").write_bytes(packet)
        partial.rename(folder)
    return folder


def write_archive(folder: Path, archive: Path) -> Path:
    """The same packets in one uncompressed archive, made once."""
    if not archive.is_file():
        partial = archive.with_suffix(".part")
        with tarfile.open(partial, "w") as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
        partial.rename(archive)
    return archive


def packet_catalog(packets: Sequence[bytes]) -> LocalCopy:
    """A catalogue at ALLWISE's mean density around the exposures, with a source at three of five packets."""
    path = skies.cache() / "packets" / f"allwise_{len(packets)}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        source = path.with_name("sky.parquet")
        write_table(_packet_sky(packets), source)
        build_copy([source], path, workers=0)
        source.unlink()
    return LocalCopy.open(path)


def _packet_sky(packets: Sequence[bytes]) -> pa.Table:
    parts = [make_sky(int(skies.DENSITY_DEG2 * box.area_deg2), seed=7, box=box, part=i) for i, box in enumerate(BOXES)]
    sky = pa.concat_tables([*parts, make_sky(100_000, seed=7, part=len(parts))])
    ra, dec = (sky[name].to_numpy().copy() for name in ("ra", "dec"))
    near = [first_record(packet)["candidate"] for number, packet in enumerate(packets) if number % 5 < 3]
    rows = np.linspace(0, len(ra) - 1, len(near)).astype(int)
    ra[rows] = np.round([candidate["ra"] for candidate in near], 7)
    dec[rows] = np.round([candidate["dec"] + OFFSET_DEG for candidate in near], 7)
    for name, values in (("ra", ra), ("dec", dec), ("designation", designations(ra, dec))):
        at = sky.schema.get_field_index(name)
        sky = sky.set_column(at, sky.schema.field(at), pa.chunked_array([values]))
    return sky
