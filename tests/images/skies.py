"""A sky of a few thousand stars, and images of it with the headers that cameras and stacks have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS

from tests.copies import patch_table

FIELDS = {"zero": (0.05, 12.0), "pole": (77.0, 89.9), "near_pole": (200.0, -88.2), "plain": (150.1, -33.3)}
"""Centres of the fields, degrees: across RA 0, with a pole inside, near the other one, and where nothing is special."""
STARS_PER_FIELD = 3000
PIXEL_DEG = 2.0 / 3600.0
CCD = (160, 330)
COLUMNS, ROWS = 10, 4


def sky() -> pa.Table:
    """Stars with magnitudes, some of them missing; every fifth is no star."""
    rng = np.random.default_rng(11)
    patches = [patch_table(STARS_PER_FIELD, *centre, 0.95, seed=n) for n, centre in enumerate(FIELDS.values())]
    table = pa.concat_tables(patches).drop_columns(["source_id"])
    n = table.num_rows
    gmag = rng.uniform(8.0, 21.0, n)
    return (
        table.append_column("source_id", pa.array(np.arange(n)))
        .append_column("gmag", pa.array([None if k % 7 == 0 else value for k, value in enumerate(gmag)]))
        .append_column("ir", pa.array(gmag - 2.0, pa.float32()))
        .append_column("extended", pa.array(np.arange(n) % 5 == 0).cast(pa.int8()))
        .append_column("name", pa.array([f"s{k}" for k in range(n)]))
    )


def header(ra: float, dec: float, *, crpix: tuple[float, float], angle: float = 0.0, kind: str = "TAN") -> fits.Header:
    """Header of an image: rotated, plain or distorted by SIP or TPV by a few pixels at its corners."""
    turn = np.radians(angle)
    wcs = fits.Header()
    code = {"TAN": "TAN", "SIP": "TAN-SIP", "TPV": "TPV"}[kind]
    wcs["CTYPE1"], wcs["CTYPE2"] = f"RA---{code}", f"DEC--{code}"
    wcs["CRVAL1"], wcs["CRVAL2"] = ra, dec
    wcs["CRPIX1"], wcs["CRPIX2"] = crpix
    wcs["CUNIT1"] = wcs["CUNIT2"] = "deg"
    wcs["CD1_1"], wcs["CD1_2"] = -PIXEL_DEG * np.cos(turn), PIXEL_DEG * np.sin(turn)
    wcs["CD2_1"], wcs["CD2_2"] = PIXEL_DEG * np.sin(turn), PIXEL_DEG * np.cos(turn)
    wcs["RADESYS"] = "ICRS"
    if kind == "SIP":
        wcs["A_ORDER"] = wcs["B_ORDER"] = 3
        wcs["A_2_0"], wcs["A_1_1"], wcs["A_0_3"] = 6e-6, -3e-6, 2e-9
        wcs["B_0_2"], wcs["B_1_1"], wcs["B_3_0"] = -5e-6, 4e-6, 2e-9
    if kind == "TPV":
        # A cubic distortion, as wide cameras have it.
        for axis in (1, 2):
            wcs[f"PV{axis}_1"], wcs[f"PV{axis}_7"], wcs[f"PV{axis}_9"] = 1.0, 0.01, 0.01
    return wcs


def ccds(field: str, kind: str) -> list[fits.Header]:
    """Headers of the CCDs of an exposure, in a mosaic with gaps; those of the upper rows are upside down."""
    headers = []
    for place in range(COLUMNS * ROWS):
        column, row = place % COLUMNS - COLUMNS / 2.0, place // COLUMNS - ROWS / 2.0
        crpix = (-column * (CCD[0] + 8) + 3.3, -row * (CCD[1] + 40) + 0.4)
        one = header(*FIELDS[field], crpix=crpix, angle=23.0, kind=kind)
        if row >= 0:
            for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
                one[key] = -one[key]
            one["CRPIX1"], one["CRPIX2"] = CCD[0] - crpix[0], CCD[1] - crpix[1]
        headers.append(one)
    return headers


def write_exposure(path: Path, headers: list[fits.Header], *, compressed: bool = False) -> Path:
    pixels = np.zeros(CCD[::-1], dtype=np.int16)
    make = fits.CompImageHDU if compressed else fits.ImageHDU
    fits.HDUList([fits.PrimaryHDU(), *(make(pixels, one) for one in headers)]).writeto(path)
    return path


def write_tile(path: Path, one: fits.Header, size: tuple[int, int] = (1500, 1300)) -> Path:
    fits.PrimaryHDU(np.zeros(size[::-1], dtype=np.uint8), one).writeto(path)
    return path


def tile_header(field: str, kind: str, angle: float) -> fits.Header:
    return header(*FIELDS[field], crpix=(700.0, 690.0), angle=angle, kind=kind)


def inside(table: pa.Table, one: fits.Header, size: tuple[int, int]) -> tuple[set[int], set[int]]:
    """Rows within an image for sure, and those that may be, by astropy's own way back, one after the other."""
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    wcs = WCS(one)
    vectors, middle = unit(ra, dec), unit(one["CRVAL1"], one["CRVAL2"])
    near = np.flatnonzero(vectors @ middle > np.cos(np.radians(1.5)))
    x, y = wcs.all_world2pix(ra[near], dec[near], 0, quiet=True)
    depth = np.minimum.reduce([x + 0.5, size[0] - 0.5 - x, y + 0.5, size[1] - 0.5 - y])
    return set(near[depth > 1e-3].tolist()), set(near[depth > -1e-3].tolist())


def unit(ra, dec) -> np.ndarray:
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
