"""The skies of the benchmarks: made from a seed, written once as HATS through the project's own importer, and kept.

They lie outside the repository, under ``~/.cache/xmatch-hats/bench`` or wherever ``XMATCH_HATS_BENCH`` points. What is
there is used again; what is not is built, piece by piece, so that a build that was stopped goes on where it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.definition import load_definition
from xmatch_hats.catalogs.importer import build_copy
from xmatch_hats.demo.letters import designations
from xmatch_hats.demo.sky import WHOLE_SKY, SkyBox, make_sky, offset_positions

Floats = NDArray[np.float64]

VERSION = 4
"""Of the skies: raised when they change, so that nothing old is taken for new."""

DENSITY_DEG2 = 18_100
"""Sources per square degree: ALLWISE's mean over the sky."""
PLANE_DENSITY_DEG2 = 181_000
"""In the plane of the Galaxy."""
FIELDS = 21
"""Boxes of 7 by 7 degrees, three rows of seven, with RA 0 inside the second; the first two are the tenth's."""
LEFT_ROWS = 5_000_000
SHARE_ON_SOURCES, SHARE_BESIDE = 0.55, 0.10
OFFSET_ARCSEC = 0.18
FINE_ORDER = 5
"""HEALPix order whose 12,288 cells are the fine layout's partitions, where it is not finer."""

EXPOSURE = SkyBox(355.6, 2.46, -3.43, 3.43)
"""One field of a wide camera, 47 square degrees, within the first two boxes."""
PLANE = SkyBox(60.0, 62.5, 39.0, 42.2)
"""6.2 square degrees, at the density of the plane."""
EXTRA_COLUMNS = ("cntr", "ph_qual", "cc_flags")


@dataclass(frozen=True)
class Size:
    """How large a set of skies is."""

    name: str
    fields: int
    plane_share: float
    """Of the region in the plane, in its width."""
    thin_rows: int
    """Sources strewn over the rest of the sphere, so that no cell of the fine layout is empty."""


TENTH = Size("tenth", fields=2, plane_share=0.1, thin_rows=120_000)
FULL = Size("full", fields=FIELDS, plane_share=1.0, thin_rows=360_000)


def cache() -> Path:
    """Folder of all skies."""
    given = os.environ.get("XMATCH_HATS_BENCH")
    folder = Path(given) if given else Path.home() / ".cache" / "xmatch-hats" / "bench"
    folder /= f"v{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def field_box(number: int) -> SkyBox:
    """Where one of the `FIELDS` lies; the middle row comes first."""
    row, column = divmod(number, 7)
    dec = (-3.5, 3.5, -10.5)[row]
    ra = 352.0 + 7.0 * column
    return SkyBox(ra % 360.0, (ra + 7.0) % 360.0, dec, dec + 7.0)


def columns_kept() -> list[str]:
    """Columns of the copies: the seventeen of ``xmatches``, the identifier and two strings more."""
    return [*load_definition("allwise").xmatch_columns, *EXTRA_COLUMNS]


# ------------------------------------------------------------------------------------------ tables, one file a region


def sky_file(number: int) -> Path:
    """Sources of one field, made where they are not there.

    They lie evenly, as they nearly do far from the plane: clusters would split partitions, which slows others more.
    """
    box = field_box(number)
    path = cache() / "tables" / f"sky_{number:02d}.parquet"
    rows = int(DENSITY_DEG2 * box.area_deg2)
    return _made(path, lambda: spread_evenly(make_sky(rows, seed=7, box=box, part=number), box, number))


def plane_box(size: Size) -> SkyBox:
    """Where the region in the plane lies."""
    return SkyBox(PLANE.ra_min, PLANE.ra_min + PLANE.width * size.plane_share, PLANE.dec_min, PLANE.dec_max)


def plane_file(size: Size) -> Path:
    """Sources of the region in the plane."""
    box = plane_box(size)
    path = cache() / "tables" / f"plane_{size.name}.parquet"
    return _made(path, lambda: make_sky(int(PLANE_DENSITY_DEG2 * box.area_deg2), seed=7, box=box, part=90))


def thin_file(size: Size) -> Path:
    """Sources strewn evenly over the sphere."""

    def make() -> pa.Table:
        return spread_evenly(make_sky(size.thin_rows, seed=7, part=91), WHOLE_SKY, 91)

    return _made(cache() / "tables" / f"thin_{size.name}.parquet", make)


def spread_evenly(sky: pa.Table, box: SkyBox, seed: int) -> pa.Table:
    """The same sources at other places, evenly over a box."""
    ra, dec = even_positions(np.random.default_rng([91, seed]), box, len(sky))
    for name, values in (("ra", ra), ("dec", dec), ("designation", designations(ra, dec))):
        at = sky.schema.get_field_index(name)
        sky = sky.set_column(at, sky.schema.field(at), pa.chunked_array([values]))
    return sky


def even_positions(rng: np.random.Generator, box: SkyBox, n: int) -> tuple[Floats, Floats]:
    """Positions evenly over a box, to seven decimals of a degree."""
    low, high = np.sin(np.radians([box.dec_min, box.dec_max]))
    ra = box.ra_min + box.width * rng.random(n)
    dec: Floats = np.degrees(np.arcsin(rng.uniform(low, high, n)))
    return np.round(ra, 7) % 360.0, np.round(dec, 7)


def left_file(number: int) -> Path:
    """A ZTF-like object table over one field: over half of its objects lie on sources of the sky."""

    def make() -> pa.Table:
        rng = np.random.default_rng([33, number])
        n = LEFT_ROWS // FIELDS
        ra, dec = place(rng, sky_positions(number), field_box(number), n)
        mag = 21.5 - np.minimum(rng.exponential(1.5, n), 8.0)
        return pa.table(
            {
                "oid": 10_000_000_000_000 + number * 10_000_000 + np.arange(n),
                "ra": ra,
                "dec": dec,
                "filterid": rng.integers(1, 4, n).astype(np.int8),
                "nobs": rng.geometric(0.01, n).astype(np.int32),
                "meanmag": mag.astype(np.float32),
                "magrms": (0.01 + 0.1 * rng.random(n)).astype(np.float32),
            }
        )

    return _made(cache() / "tables" / f"left_{number:02d}.parquet", make, all_columns=True)


def sky_positions(number: int) -> tuple[Floats, Floats]:
    """Right ascensions and declinations of one field's sources, in degrees."""
    table = pq.read_table(sky_file(number), columns=["ra", "dec"])
    return table["ra"].to_numpy(), table["dec"].to_numpy()


def place(rng: np.random.Generator, sky: tuple[Floats, Floats], box: SkyBox, n: int) -> tuple[Floats, Floats]:
    """Positions in a box: on sources of a sky, a few arcseconds beside them, or anywhere."""
    ra, dec = even_positions(rng, box, n)
    inside = np.flatnonzero(box.contains(*sky))
    chance, host = rng.random(n), rng.choice(inside, size=n)
    near = chance < SHARE_ON_SOURCES
    distance = np.where(near, rng.rayleigh(OFFSET_ARCSEC, n), np.sqrt(rng.uniform(1.0, 16.0, n)))
    on_ra, on_dec = offset_positions(sky[0][host], sky[1][host], distance, 2.0 * np.pi * rng.random(n))
    hosted = chance < SHARE_ON_SOURCES + SHARE_BESIDE
    ra, dec = np.where(hosted, on_ra, ra), np.where(hosted, on_dec, dec)
    return np.round(ra, 7) % 360.0, np.round(dec, 7)


def _made(path: Path, make: Callable[[], pa.Table], *, all_columns: bool = False) -> Path:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        table = make()
        partial = path.with_suffix(".part")
        pq.write_table(table if all_columns else table.select(columns_kept()), partial, compression="zstd")
        partial.rename(path)
    return path


# ------------------------------------------------------------------------------------------ HATS copies


def sky_sources(size: Size) -> list[Path]:
    """Files of the catalogue of a size."""
    return [*(sky_file(number) for number in range(size.fields)), plane_file(size), thin_file(size)]


def sky_copy(size: Size) -> LocalCopy:
    """The catalogue in the importer's own layout: about 400 partitions where it is full."""
    return _copy(
        cache() / size.name / "allwise",
        lambda out: build_copy(sky_sources(size), out, columns=columns_kept(), side_copy=False),
    )


def fine_copy(size: Size) -> LocalCopy:
    """The same rows in partitions of order 5 or finer, all 12,288 of them and some."""

    def build(out: Path) -> LocalCopy:
        with _lowest_order(FINE_ORDER):
            return build_copy(sky_sources(size), out, columns=columns_kept(), side_copy=False)

    return _copy(cache() / size.name / "allwise_12288", build)


def fields_copy(fields: int) -> LocalCopy:
    """A catalogue of the first fields alone: about 880,000 rows each."""
    sources = [sky_file(number) for number in range(fields)]
    return _copy(
        cache() / "fields" / f"{fields:02d}",
        lambda out: build_copy(sources, out, columns=columns_kept(), side_copy=False),
    )


def left_copy(size: Size) -> LocalCopy:
    """The ZTF-like left side, of 5 million rows where it is full."""
    sources = [left_file(number) for number in range(size.fields)]
    return _copy(cache() / size.name / "ztf", lambda out: build_copy(sources, out, name="ztf", side_copy=False))


def left_cut_fine() -> LocalCopy:
    """The left side of the tenth in partitions of 5,000 rows at most, for what a partition costs by itself."""
    sources = [left_file(number) for number in range(TENTH.fields)]
    return _copy(
        cache() / TENTH.name / "ztf_fine",
        lambda out: build_copy(sources, out, name="ztf", partition_rows=5_000, side_copy=False),
    )


def with_side_copy(copy: LocalCopy) -> LocalCopy:
    """The same copy with a side copy, as an import leaves it; its files are links to those of the bare one."""
    from xmatch_hats.catalogs.side_copy import SideCopy, build_side_copy

    path = copy.path.with_name(f"{copy.path.name}+side")
    if not path.exists():
        shutil.copytree(copy.path, path, copy_function=os.link)
    linked = LocalCopy.open(path)
    if SideCopy.find(linked) is None:
        print(f"building the side copy of {path}", flush=True)
        build_side_copy(linked)
    return linked


def _copy(path: Path, build: Callable[[Path], LocalCopy]) -> LocalCopy:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"building {path}", flush=True)
        build(path)
    return LocalCopy.open(path)


@contextmanager
def _lowest_order(order: int) -> Iterator[None]:
    """Make the importer cut no coarser than an order, which is no setting of its own."""
    from hats_import.catalog import arguments

    real = arguments.ImportArguments

    def lowest(**given: object) -> object:
        highest = max(order, int(given["highest_healpix_order"]))  # type: ignore[call-overload]
        return real(**{**given, "lowest_healpix_order": order, "highest_healpix_order": highest})

    with patch.object(arguments, "ImportArguments", lowest):
        yield


class AlertMaker:
    """Batches of alerts, by their number.

    Parameters
    ----------
    size : Size
    alerts : int
        In a batch.
    box : SkyBox, optional
        Where they lie.
    """

    def __init__(self, size: Size, alerts: int, box: SkyBox = EXPOSURE) -> None:
        files = [sky_file(0), sky_file(1)] if box is EXPOSURE else [plane_file(size)]
        tables = [pq.read_table(path, columns=["ra", "dec"]) for path in files]
        ra, dec = (np.concatenate([table[name].to_numpy() for table in tables]) for name in ("ra", "dec"))
        inside = box.contains(ra, dec)
        self._sky = ra[inside], dec[inside]
        self._alerts, self._box = alerts, box

    def __call__(self, number: int) -> tuple[Floats, Floats]:
        """Right ascensions and declinations, in degrees."""
        return place(np.random.default_rng([47, number]), self._sky, self._box, self._alerts)


def field_alerts(number: int, count: int, seed: int) -> tuple[Floats, Floats]:
    """Positions of a batch over one of the fields, in degrees."""
    return place(np.random.default_rng([49, seed]), sky_positions(number), field_box(number), count)


def alerts(count: int, seed: int) -> tuple[Floats, Floats]:
    """Positions of one batch of alerts in the exposure, in degrees."""
    return AlertMaker(TENTH, count)(seed)
