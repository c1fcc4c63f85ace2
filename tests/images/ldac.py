"""Tables as SExtractor and an image pipeline write them, and a reader that knows nothing of the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from tests.copies import patch_table
from tests.images.skies import FIELDS

EPOCHS = 3


def detections(table, field: str = "plain", n: int = 400, *, seed: int = 1, size_deg: float = 0.4) -> dict:
    """Columns of a tile: half of the rows lie within an arcsecond of a star, half where they fall."""
    rng = np.random.default_rng(seed)
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    away = np.hypot((ra - FIELDS[field][0] + 180.0) % 360.0 - 180.0, dec - FIELDS[field][1])
    near = np.argsort(away, kind="stable")[: max(1, n)]
    stars = near[rng.integers(0, len(near), n // 2)]
    shift = rng.normal(0.0, 0.3 / 3600.0, (2, n // 2))
    rest = patch_table(n - n // 2, *FIELDS[field], size_deg, seed=seed)
    x = np.concatenate(((ra[stars] + shift[0] / np.cos(np.radians(dec[stars]))) % 360.0, rest["ra"].to_numpy()))
    y = np.concatenate((np.clip(dec[stars] + shift[1], -90.0, 90.0), rest["dec"].to_numpy()))
    order = rng.permutation(n)
    return {"X_WORLD": x[order], "Y_WORLD": y[order], "MAG_AUTO": rng.uniform(16.0, 24.0, n).astype(">f4")}


def objects(columns: dict, name: str = "LDAC_OBJECTS", more: list[fits.Column] = ()) -> fits.BinTableHDU:
    """A table of objects, with vectors, marks for missing values, scales and flags beside the columns given."""
    n = len(columns["X_WORLD"])
    rng = np.random.default_rng(n)
    numbers = np.arange(1, n + 1)
    made = [
        fits.Column("NUMBER", "1J", array=numbers, disp="I10"),
        fits.Column("FLAGS", "1I", array=np.where(numbers % 4, numbers % 8, -99), null=-99),
        fits.Column("X_WORLD", "1D", array=columns["X_WORLD"], unit="deg", disp="E18.10"),
        fits.Column("Y_WORLD", "1D", array=columns["Y_WORLD"], unit="deg", disp="E18.10"),
        fits.Column("MAG_AUTO", "1E", array=columns["MAG_AUTO"], unit="mag", disp="F8.4"),
        fits.Column("FLUX_APER", "3E", array=rng.normal(size=(n, 3)), unit="count"),
        fits.Column("VIGNET", "20E", array=rng.normal(size=(n, 4, 5)), dim="(5,4)", unit="count"),
        fits.Column("ISO", "1J", array=np.arange(n, dtype="u4") + 2**31, bzero=2**31),
        fits.Column("EXT", "8A", array=[f"e{k % 7}" for k in range(n)]),
        fits.Column("BITS", "11X", array=rng.integers(0, 2, (n, 11)).astype(bool)),
        *more,
    ]
    hdu = fits.BinTableHDU.from_columns(made, name=name)
    hdu.header["TUCD3"] = "pos.eq.ra"
    hdu.header["SEXVERS"] = ("2.25.0", "of a program")
    hdu.header["HISTORY"] = "made for a test"
    return hdu


def write_ldac(path: Path, columns: dict, *, epochs: int = EPOCHS, more: list[fits.Column] = ()) -> Path:
    """A FITS_LDAC file after a pipeline's post-processing: header of the image, objects, epochs."""
    card = fits.Column("Field Header Card", "160A", array=["SIMPLE  =                    T".ljust(80) * 2])
    numbers = np.arange(1, len(columns["X_WORLD"]) + 1)
    hdus = [
        fits.PrimaryHDU(),
        fits.BinTableHDU.from_columns([card], name="LDAC_IMHEAD"),
        objects(columns, more=more),
    ]
    for epoch in range(epochs):
        hdus.append(
            fits.BinTableHDU.from_columns(
                [
                    fits.Column("NUMBER", "1J", array=numbers),
                    fits.Column("EXP_NAME", "7A", array=[f"{2104127 + epoch}"] * len(numbers)),
                    fits.Column("CCD_N", "1J", array=numbers % 40 - 1),
                ],
                name=f"EPOCH_{epoch}",
            )
        )
    fits.HDUList(hdus).writeto(path, output_verify="exception")
    return path


@dataclass(frozen=True)
class Hdu:
    """One HDU of a file, from the bytes of the standard's description."""

    cards: dict[str, str]
    data: bytes
    """Without the blanks or zeros at the end of its last block."""
    whole: bytes
    """Header and data, with them."""

    @property
    def name(self) -> str:
        return self.cards.get("EXTNAME", "").partition("/")[0].strip("' ")

    def number(self, key: str) -> int:
        return int(self.cards.get(key, "0").partition("/")[0])

    def column(self, name: str) -> int:
        """Number of a column, from one."""
        titles = {
            self.cards[f"TTYPE{n}"].partition("/")[0].strip(" '"): n for n in range(1, self.number("TFIELDS") + 1)
        }
        return titles[name]


def read_hdus(path: Path) -> list[Hdu]:
    """HDUs of a file, which must be made of whole blocks and hold nothing else."""
    data, at, hdus = path.read_bytes(), 0, []
    assert len(data) % 2880 == 0
    while at < len(data):
        cards, start = {}, at
        while True:
            card = data[at : at + 80].decode("ascii")
            at += 80
            if card.startswith("END "):
                break
            if card[8:10] == "= ":
                assert card[:8].strip() not in cards, card
                cards[card[:8].strip()] = card[10:].strip()
        at += -(at - start) % 2880
        size = abs(int(cards["BITPIX"].partition("/")[0])) // 8 if int(cards["NAXIS"].partition("/")[0]) else 0
        for axis in range(1, int(cards["NAXIS"].partition("/")[0]) + 1):
            size *= int(cards[f"NAXIS{axis}"].partition("/")[0])
        size += int(cards.get("PCOUNT", "0").partition("/")[0])
        body = data[at : at + size]
        at += size + -size % 2880
        hdus.append(Hdu(cards, body, data[start:at]))
    return hdus
