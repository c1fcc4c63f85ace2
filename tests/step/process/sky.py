"""A made sky, small alerts of it, and what a step must make of them: by brute force and the contract's rules."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from tests.copies import make_copy
from tests.oracle import brute_force
from tests.services.topics import Message
from tests.store.detections import MAGNITUDES, Answer, Detection, expected_tables, facts
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.region import Box
from xmatch_hats.demo.sky import SkyBox, make_sky

ARCSEC = 1 / 3600.0
CORNERS = (359.5, 0.5, -0.5, 0.5)
SKY_ROWS = 3000
PARTITIONS = 4

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "alert",
    "namespace": "ztf",
    "fields": [
        {"name": "objectId", "type": "string"},
        {"name": "candid", "type": "long"},
        {
            "name": "candidate",
            "type": {
                "type": "record",
                "name": "candidate",
                "fields": [
                    {"name": "jd", "type": "double"},
                    {"name": "ra", "type": "double"},
                    {"name": "dec", "type": "double"},
                    {"name": "magpsf", "type": "float"},
                    {"name": "ndethist", "type": "int"},
                    {"name": "ncovhist", "type": "int"},
                    {"name": "jdstarthist", "type": ["null", "double"], "default": None},
                    {"name": "jdendhist", "type": ["null", "double"], "default": None},
                ],
            },
        },
        {"name": "cutoutScience", "type": "bytes"},
    ],
}
_PARSED = fastavro.parse_schema(SCHEMA)


@dataclass(frozen=True)
class Sky:
    """Alerts in the order in which they are produced, and the copy that they are matched with."""

    copy: Path
    alerts: Sequence[dict[str, Any]]
    rows: Sequence[dict[str, Any]]
    """Of the catalogue."""

    @cached_property
    def messages(self) -> list[Message]:
        """Packets of 1 to 2 kB, keyed by object."""
        return [Message(_pack(alert), key=alert["objectId"].encode()) for alert in self.alerts]

    @cached_property
    def matches(self) -> list[tuple[dict[str, Any], float] | None]:
        """The nearest row within 1 arcsec of each alert, and how far it lies."""
        ra, dec = ([alert["candidate"][name] for alert in self.alerts] for name in ("ra", "dec"))
        pairs = brute_force(
            ra, dec, [row["ra"] for row in self.rows], [row["dec"] for row in self.rows], 1.0, k=1, block=500
        )
        found: list[tuple[dict[str, Any], float] | None] = [None] * len(self.alerts)
        for left, right, separation in zip(pairs.left, pairs.right, pairs.sep_arcsec, strict=True):
            found[left] = (self.rows[right], float(separation))
        return found

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Tables of the database after all alerts; those of one object came in their order."""
        detections = []
        for alert, match in zip(self.alerts, self.matches, strict=True):
            candidate = alert["candidate"]
            names = ("ra", "dec", "jd", "ndethist", "ncovhist", "jdstarthist", "jdendhist")
            answers = {}
            if match is not None:
                row, separation = match
                values = {name: row[name] for name in ("ra", "dec", *MAGNITUDES)}
                answers["allwise"] = Answer(row["designation"], separation, values)
            detections.append(Detection(facts(alert["objectId"], **{name: candidate[name] for name in names}), answers))
        return expected_tables(detections)


def make_alerts(copy: LocalCopy, rows: Sequence[dict[str, Any]], count: int, seed: int = 0) -> Sky:
    """Make alerts of a catalogue: five of each object, most of them near a source, each with a position of its own.

    An object's alerts scatter about it, so that some of them have a match and others do not.
    """
    rng = np.random.default_rng(seed)
    objects = max(count // 5, 1)
    near = rng.random(objects) < 0.7
    # Away from the border of what the copy covers.
    sources = [(row["ra"], row["dec"]) for row in rows if abs(row["dec"]) < 0.49 and abs(row["ra"] - 180) > 179.51]
    centres = [
        sources[rng.integers(len(sources))] if is_near else tuple(rng.uniform(-0.45, 0.45, 2).tolist())
        for is_near in near
    ]
    alerts = []
    for number, owner in enumerate(rng.integers(0, objects, count).tolist()):
        ra, dec = centres[owner]
        away, angle = rng.exponential(0.5) * ARCSEC, rng.uniform(0, 2 * math.pi)
        jd = 2458800.5 + number / 10_000
        candidate = {
            "jd": jd,
            "ra": (ra + away * math.cos(angle)) % 360.0,
            "dec": dec + away * math.sin(angle),
            "magpsf": float(np.float32(rng.uniform(15, 21))),
            "ndethist": int(rng.integers(1, 100)),
            "ncovhist": int(rng.integers(100, 1000)),
            "jdstarthist": None if owner % 7 == 0 else 2458300.5 + owner / 100,
            "jdendhist": None if owner % 7 == 0 else jd,
        }
        alerts.append(
            {
                "objectId": f"ZTF20{owner:07d}",
                "candid": 10**18 + number,
                "candidate": candidate,
                "cutoutScience": rng.bytes(int(rng.integers(200, 900))),
            }
        )
    return Sky(copy.path, alerts, rows)


def catalogue_rows() -> pa.Table:
    """Sources, always the same."""
    return make_sky(SKY_ROWS, seed=5, box=SkyBox(*CORNERS))


def write_catalogue(folder: Path) -> LocalCopy:
    """Make a copy of them under ALLWISE's definition."""
    return make_copy(catalogue_rows(), folder / "sky", coverage=Box(*CORNERS).coverage(), partition_rows=1000)


def _pack(alert: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, _PARSED, [alert])
    return buffer.getvalue()
