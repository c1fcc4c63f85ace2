"""Alert packets of a made-up exposure: Avro containers of ZTF's schema 3.3, and among them some that cannot be read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import numpy as np

from xmatch_hats.alerts.sinks import GZIP_LEVEL
from xmatch_hats.alerts.ztf33_schema import SCHEMA
from xmatch_hats.demo.exposure import JD, MISSING, Exposure
from xmatch_hats.demo.stamps import science_template_difference

__all__ = ["SCHEMA_33", "WrittenPackets", "packet_bytes", "write_archive", "write_packets"]

SCHEMA_33: dict[str, Any] = SCHEMA | {"fields": [field for field in SCHEMA["fields"] if field["name"] != "xmatches"]}
"""Schema of the packets: that of the output before anybody has matched it."""

_PUBLISHER = "xmatch_hats demo"
_ALERT_CONSTANTS: dict[str, Any] = {
    "jd": JD,
    "fid": 2,
    "programpi": "Nobody",
    "programid": 1,
    "tblid": 0,
    "nid": int(JD - 2457754.5),
    "sigmagnr": 0.02,
    "chinr": 0.9,
    "sharpnr": 0.01,
    "sky": 0.4,
    "classtar": 0.98,
    "seeratio": 1.1,
    "aimage": 0.9,
    "bimage": 0.8,
    "aimagerat": 0.43,
    "bimagerat": 0.38,
    "nbad": 0,
    "ssmagnr": MISSING,
    "ssnamenr": "null",
    "tooflag": 0,
    "rfid": 1615120251,
    "jdstartref": 2458300.7,
    "jdendref": 2458450.9,
    "nframesref": 20,
    "rbversion": "demo_1",
    "drbversion": "demo_d1",
    "dsnrms": 8.0,
    "ssnrms": 7.2,
    "dsdiff": 0.8,
    "magzpsci": 26.2,
    "magzpsciunc": 1e-5,
    "magzpscirms": 0.03,
    "nmatches": 900,
    "clrcoeff": 0.1,
    "clrcounc": 2e-5,
    "zpclrcov": -1e-5,
    "zpmed": 26.2,
    "clrmed": 0.65,
    "clrrms": 0.2,
    "neargaiabright": MISSING,
    "maggaiabright": MISSING,
    "exptime": 30.0,
}
_IMAGE_FIELDS = ["jd", "fid", "pid", "nid", "rcid", "field", "diffmaglim", "pdiffimfilename", "tblid", "rbversion"]
_CALIBRATION_FIELDS = ["magzpsci", "magzpsciunc", "magzpscirms", "clrcoeff", "clrcounc", "programpi", "programid"]
_LIMIT_FIELDS = frozenset([*_IMAGE_FIELDS, *_CALIBRATION_FIELDS])
"""What a record of the history tells of an epoch at which nothing was detected."""


@dataclass(frozen=True)
class WrittenPackets:
    """What `write_packets` left in a folder."""

    paths: list[Path]
    """One file for each alert, in the order of the exposure."""
    spoiled: dict[Path, str]
    """Files that must be rejected, and what was done to them."""


def packet_bytes(exposure: Exposure) -> Iterator[bytes]:
    """Encode the alerts of an exposure one by one; memory is that of one packet.

    Yields
    ------
    bytes
        An Avro container with the schema, one block and one record, without compression: what ZTF publishes.
    """
    schema = fastavro.parse_schema(SCHEMA_33)
    rng = np.random.default_rng([exposure.seed, 63])
    for number in range(len(exposure)):
        buffer = io.BytesIO()
        record = _record(exposure, number, rng)
        fastavro.writer(buffer, schema, [record], codec="null", sync_marker=rng.bytes(16))
        yield buffer.getvalue()


def write_packets(exposure: Exposure, folder: Path, *, spoil: bool = True) -> WrittenPackets:
    """Write the packets of an exposure, one file each, named by candidate as in the public archives.

    Parameters
    ----------
    exposure : Exposure
    folder : Path
        Made if it does not exist.
    spoil : bool
        Damage four packets on their way to the disk, as broken transfers and broken pipelines do; exposures of fewer
        than 20 alerts stay whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    damages = _DAMAGES if spoil and len(exposure) >= 20 else ()
    victims = {(number + 1) * len(exposure) // (len(damages) + 1): damage for number, damage in enumerate(damages)}
    paths, spoiled = [], {}
    for number, packet in enumerate(packet_bytes(exposure)):
        path = folder / f"{exposure.columns['candid'][number]}.avro"
        if number in victims:
            spoiled[path] = victims[number]
            packet = _damaged(packet, victims[number], exposure.columns["dec"][number])
        path.write_bytes(packet)
        paths.append(path)
    return WrittenPackets(paths, spoiled)


def write_archive(written: WrittenPackets, path: Path) -> None:
    """Pack packets, damaged ones among them, into a ``.tar.gz`` as archives of whole nights are."""
    with tarfile.open(path, "w:gz", compresslevel=GZIP_LEVEL) as archive:
        for packet in written.paths:
            archive.add(packet, packet.name)


def _record(exposure: Exposure, number: int, rng: np.random.Generator) -> dict[str, Any]:
    values = {name: column[number].item() for name, column in exposure.columns.items()}
    candidate = _ALERT_CONSTANTS | values | {"field": exposure.field}
    candidate["pdiffimfilename"] = f"ztf_{exposure.field:06d}_zr_c{candidate['rcid']:02d}_scimrefdiffimg.fits"
    flux = 30.0 * 10.0 ** (-0.4 * (candidate["magpsf"] - 20.6)) * (1 if candidate["isdiffpos"] == "t" else -1)
    record: dict[str, Any] = {
        "schemavsn": "3.3",
        "publisher": _PUBLISHER,
        "objectId": exposure.object_ids[number],
        "candid": candidate["candid"],
        "candidate": candidate,
        "prv_candidates": _history(candidate, rng),
    }
    for kind, stamp in zip(("Science", "Template", "Difference"), science_template_difference(rng, flux), strict=True):
        name = f"candid{candidate['candid']}_pid{candidate['pid']}_targ_{kind[:4].lower()}.fits.gz"
        record[f"cutout{kind}"] = {"fileName": name, "stampData": stamp}
    return record


def _history(candidate: dict[str, Any], rng: np.random.Generator) -> list[dict[str, Any]] | None:
    """Earlier epochs of a month: detections, and limits where there was none; a fifth of the alerts has no history."""
    if rng.random() < 0.2:
        return None
    epochs = []
    for age in np.sort(rng.uniform(0.9, 30.0, rng.integers(1, 7)))[::-1]:
        names = _DETECTION_FIELDS if rng.random() < 0.5 else _LIMIT_FIELDS
        epoch = {name: value for name, value in candidate.items() if name in names}
        epoch |= {"jd": JD - float(age), "nid": int(JD - age - 2457754.5), "diffmaglim": 20.2 + 0.6 * rng.random()}
        epoch["pid"] = candidate["pid"] - int(age * 1e9)
        if "candid" in epoch:
            epoch["candid"] = epoch["pid"] * 1_000_000 + 15_000
            epoch["magpsf"] = candidate["magpsf"] + 0.1 * rng.standard_normal()
        epochs.append(epoch)
    return epochs


def _detection_fields() -> frozenset[str]:
    (union,) = [field["type"] for field in SCHEMA["fields"] if field["name"] == "prv_candidates"]
    (array,) = [branch for branch in union if branch != "null"]
    return frozenset(field["name"] for field in array["items"]["fields"])


_DETECTION_FIELDS = _detection_fields()


_DAMAGES = (
    "cut short",
    "an error page in place of a packet",
    "zeros written over its schema",
    "a declination that is NaN",
)


def _damaged(packet: bytes, damage: str, dec: float) -> bytes:
    if damage == "cut short":
        return packet[: len(packet) * 2 // 3]
    if damage == "an error page in place of a packet":
        return b"<html><body>503 Service Unavailable</body></html>\n"
    if damage == "zeros written over its schema":
        return packet[:40] + bytes(200) + packet[240:]
    # A double has eight bytes wherever it stands, so the packet stays valid Avro.
    return packet.replace(np.float64(dec).tobytes(), np.float64(np.nan).tobytes(), 1)


def __dir__() -> list[str]:
    return sorted(__all__)
