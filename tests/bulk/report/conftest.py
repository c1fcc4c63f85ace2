"""Outputs of every kind on one small sky, made once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.bulk.alerts.nights import alert, packet, write_archive
from tests.copies import make_copy
from tests.shared import made_once
from xmatch_hats.bulk import crossmatch_catalogs
from xmatch_hats.bulk.alerts.archives import open_archives
from xmatch_hats.bulk.alerts.merge import merge_nights
from xmatch_hats.bulk.alerts.run import crossmatch_alerts
from xmatch_hats.catalogs.region import Box
from xmatch_hats.demo.sky import SkyBox, make_sky
from xmatch_hats.matching.targets import CatalogTarget

CORNERS = (359.5, 0.5, -0.5, 0.5)
"""Of a square degree about RA 0, Dec 0."""
OFFSET = (0.2, -0.1)
"""Of catalogue rows from what lies near them, arcsec: along right ascension and declination."""
COLUMNS = ["designation", "ra", "dec", "w1mpro", "w2mpro", "w1sigmpro", "w2sigmpro"]


@dataclass(frozen=True)
class Made:
    """A catalogue, and the outputs of what was matched with it."""

    sky: pa.Table
    catalog: Path
    nights: Path
    """Three archives of two nights: 200 alerts near rows of the catalogue and 100 anywhere; 50 near ones and two that
    are rejected; and the first 40 of the first one, again."""
    merged: Path
    joined: Path
    """The catalogue's own rows, moved by `OFFSET`, with all within 5 arcsec."""


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    folder = made_once(tmp_path_factory, "report-made", make_outputs)
    return Made(sky_of_all(), folder / "allwise", folder / "nights", folder / "nights" / "merged", folder / "joined")


def sky_of_all() -> pa.Table:
    return make_sky(3000, seed=5, box=SkyBox(*CORNERS))


def make_outputs(folder: Path) -> None:
    sky = sky_of_all()
    catalog = make_copy(sky, folder / "allwise", coverage=Box(*CORNERS).coverage(), partition_rows=1000).path
    ra = sky["ra"].to_numpy() - OFFSET[0] / 3600
    dec = sky["dec"].to_numpy() - OFFSET[1] / 3600
    rng = np.random.default_rng(3)
    near = [(ra[number] % 360, dec[number]) for number in rng.choice(3000, 250, replace=False).tolist()]
    far = list(zip(rng.uniform(-0.6, 0.6, 100) % 360, rng.uniform(-0.6, 0.6, 100), strict=True))
    alerts = [alert(number, *place) for number, place in enumerate([*near[:200], *far, *near[200:]])]
    members = [(f"{one['candid']}.avro", packet(one)) for one in alerts]
    bad = [("broken.avro", b"Obj\x01nonsense"), ("nowhere.avro", packet(alert(999, float("nan"), 0.0)))]
    archives = [
        write_archive(folder / "ztf_public_20180619.tar.gz", members[:300]),
        write_archive(folder / "ztf_public_20180620.tar.gz", [*members[300:], *bad]),
        write_archive(folder / "ztf_again_20180620.tar.gz", members[:40]),
    ]
    targets = [CatalogTarget(catalog, "allwise", 2.0, COLUMNS)]
    list(crossmatch_alerts(open_archives([str(path) for path in archives], None), targets, folder / "nights"))
    merge_nights(folder / "nights", dedup=True)
    left = pa.table({"ra": ra % 360, "dec": dec, "oid": np.arange(3000), "gmag": rng.normal(18.0, 1.0, 3000)})
    make_copy(left, folder / "ztf", coverage="all-sky", name="ztf", partition_rows=1000)
    crossmatch_catalogs(
        folder / "ztf", catalog, folder / "joined", radius_arcsec=5.0, n_neighbors=None, join="left", workers=0
    )


@pytest.fixture
def nights(made, tmp_path) -> Path:
    """The nights, to be spoilt."""
    return Path(shutil.copytree(made.nights, tmp_path / "nights"))


@pytest.fixture
def joined(made, tmp_path) -> Path:
    """The join, to be spoilt."""
    return Path(shutil.copytree(made.joined, tmp_path / "joined"))
