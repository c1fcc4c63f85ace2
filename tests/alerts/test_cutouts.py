"""Images of alerts: FITS and JPEG, made and real, and what is none."""

from __future__ import annotations

import gzip
import io

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from tests.alerts.makers import SMALL_SCHEMA, pack, small_alert
from xmatch_hats.alerts import cutouts
from xmatch_hats.alerts.cutouts import CUTOUTS, decode_record, read_cutout
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.errors import PacketError

GRADIENT = np.arange(63 * 63, dtype=np.float32).reshape(63, 63)


def as_fits(image, pack_with=gzip.compress):
    buffer = io.BytesIO()
    fits.PrimaryHDU(image).writeto(buffer)
    return pack_with(buffer.getvalue())


def as_jpeg(image, mode="L"):
    buffer = io.BytesIO()
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).convert(mode).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def record(data):
    return {"cutoutScience": {"fileName": "candid_pid_targ_sci.fits.gz", "stampData": data}}


@pytest.mark.parametrize("packed", [gzip.compress, bytes])
def test_fits(packed):
    image = GRADIENT.copy()
    image[0, 0] = np.nan
    cutout = read_cutout(record(as_fits(image, packed)), "cutoutScience")
    assert cutout.kind == "FITS"
    assert np.array_equal(cutout.image, image, equal_nan=True)
    assert cutout.image.dtype == np.float64


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg(mode):
    image = np.tile(np.arange(51) * 5.0, (51, 1))
    cutout = read_cutout(record(as_jpeg(image, mode)), "cutoutScience")
    assert cutout.kind == "JPEG"
    assert np.abs(cutout.image - image).max() < 8


def test_bare_bytes():
    assert read_cutout({"cutoutScience": as_fits(GRADIENT)}, "cutoutScience").image.shape == (63, 63)


@pytest.mark.parametrize("held", [{}, {"cutoutScience": None}, record(b""), {"cutoutScience": b""}])
def test_none(held):
    assert read_cutout(held, "cutoutScience") is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"nonsense", "its image is neither JPEG nor FITS"),
        (as_fits(GRADIENT)[:500], "its image cannot be unpacked"),
        (gzip.compress(b"nonsense", mtime=0), "its image is neither JPEG nor FITS"),
        (as_fits(None), "its FITS file holds no image"),
        (as_fits(np.zeros((2, 3, 4))), "its FITS file holds no image"),
        (as_jpeg(GRADIENT)[:100], "its JPEG image is damaged"),
        (b"\xff\xd8\xff\xe0nonsense", "its JPEG image is damaged"),
        ("text", "holds a str, not an image"),
    ],
)
def test_what_is_no_image(data, message):
    with pytest.raises(PacketError, match=f"cutoutScience: {message}"):
        read_cutout(record(data), "cutoutScience")


def test_images_that_are_far_too_large(monkeypatch):
    monkeypatch.setattr(cutouts, "_LARGEST", 10_000)
    for data, message in ((as_fits(GRADIENT), "more than 10000 bytes"), (as_jpeg(GRADIENT), "63 x 63 pixels")):
        with pytest.raises(PacketError, match=message):
            read_cutout(record(data), "cutoutScience")


def test_records_are_decoded_wholly():
    packet = PacketReader().read(pack([small_alert(1), small_alert(2, ra=77.0)]))
    assert decode_record(packet, packet.alerts[1]) == small_alert(2, ra=77.0)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_records_that_have_been_matched(codec):
    from tests.alerts.makers import XMATCHES_FIELD

    schema = SMALL_SCHEMA | {"fields": [*SMALL_SCHEMA["fields"], XMATCHES_FIELD]}
    packet = PacketReader().read(pack([small_alert(1, xmatches=None)], schema, codec=codec))
    assert decode_record(packet, packet.alerts[0]) == small_alert(1)


def test_real_packets(shared_data):
    """All images of real packets, of every schema."""
    kinds = {"FITS": 0, "JPEG": 0}
    for path in sorted((shared_data / "ztf_alerts").rglob("*.avro")):
        # One of many of a kind will do, but for the rare ones.
        if "v1.3" not in path.parts and path.name[-6:-5] not in "01":
            continue
        with path.open("rb") as file:
            records = list(fastavro.reader(file))
        packet = PacketReader().read(path.read_bytes())
        for alert, whole in zip(packet.alerts, records, strict=True):
            decoded = decode_record(packet, alert)
            for field in CUTOUTS.values():
                cutout = read_cutout(decoded, field)
                assert (cutout is None) is (not whole.get(field))
                if cutout is not None:
                    kinds[cutout.kind] += 1
                    assert cutout.image.ndim == 2
    assert kinds["JPEG"] == 6
    assert kinds["FITS"] > 100
