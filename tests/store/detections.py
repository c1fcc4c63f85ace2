"""A stream in miniature: alerts with what catalogues have at their positions, and the tables that must come of it.

`expected_tables` is the oracle: it takes the alerts one after the other and follows the rules of the contract by hand,
without batches, columns or SQL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from xmatch_hats.store.facts import AlertFacts, CatalogMatches

MAGNITUDES = [
    *("w1mpro", "w2mpro", "w3mpro", "w4mpro", "w1sigmpro", "w2sigmpro", "w3sigmpro", "w4sigmpro"),
    *("j_m_2mass", "h_m_2mass", "k_m_2mass", "j_msig_2mass", "h_msig_2mass", "k_msig_2mass"),
]


@dataclass(frozen=True)
class Answer:
    """What one catalogue has for one alert."""

    source: Any
    dist: float = 0.5
    values: dict[str, float | None] = field(default_factory=dict)
    """Of AllWISE's columns."""


@dataclass(frozen=True)
class Detection:
    """One alert and its answers by catalogue."""

    facts: AlertFacts
    answers: dict[str, Answer] = field(default_factory=dict)


def facts(oid="ZTF18abc", **changes) -> AlertFacts:
    values = {
        "oid": oid,
        "ra": 10.5,
        "dec": -5.25,
        "jd": 2459000.75,
        "ndethist": 7,
        "ncovhist": 70,
        "jdstarthist": 2458300.5,
        "jdendhist": 2459000.75,
    }
    return AlertFacts(**{**values, **changes})


def wise(source="J004200.00-051500.0", dist=0.5, **values) -> dict[str, Answer]:
    return {"allwise": Answer(source, dist, {"ra": 10.5001, "dec": -5.2501, "w1mpro": 12.5, **values})}


def catalog_matches(detections: Sequence[Detection]) -> list[CatalogMatches]:
    """Put the answers of a batch into columns, as the step gets them."""
    batch = []
    for catid in ("allwise", "gcvs"):
        found = [(n, d.answers[catid]) for n, d in enumerate(detections) if catid in d.answers]
        answers = [answer for _, answer in found]
        if catid == "allwise":
            columns = {"designation": pa.array([answer.source for answer in answers], pa.string())}
            for name in ["w1mpro", "ra", "dec", *MAGNITUDES[1:]]:
                columns[name] = pa.array([answer.values.get(name) for answer in answers], pa.float64())
        else:
            columns = {"number": pa.array([answer.source for answer in answers], pa.int64())}
        batch.append(
            CatalogMatches(
                catid=catid,
                table="allwise" if catid == "allwise" else None,
                alert=np.array([number for number, _ in found], dtype=np.int64),
                distance_arcsec=np.array([answer.dist for answer in answers], dtype=float),
                rows=pa.table(columns),
                id_column=next(iter(columns)),
            )
        )
    return batch


def write(store, *detections):
    """Write a batch."""
    return store.write([detection.facts for detection in detections], catalog_matches(detections))


def expected_tables(detections: Sequence[Detection]) -> dict[str, list[dict[str, Any]]]:
    """The tables after a stream, by the rules of the contract."""
    objects: dict[str, dict] = {}
    allwise: dict[str, dict] = {}
    xmatch: dict[tuple[str, str], dict] = {}
    for detection in detections:
        if not detection.answers or not has_all(detection.facts):
            continue
        alert = detection.facts
        oid = str(alert.oid)
        if oid not in objects:
            objects[oid] = {
                "oid": oid,
                "ndethist": alert.ndethist,
                "ncovhist": alert.ncovhist,
                "mjdstarthist": mjd(alert.jdstarthist),
                "mjdendhist": mjd(alert.jdendhist),
                "firstmjd": mjd(alert.jd),
                "lastmjd": mjd(alert.jd),
                "ndet": 1,
                "deltajd": 0,
                "meanra": alert.ra,
                "meandec": alert.dec,
                "step_id_corr": "0.0.0",
                "corrected": False,
                "stellar": False,
            }
        for catid, answer in detection.answers.items():
            name = str(answer.source)
            xmatch[oid, catid] = {
                "oid": oid,
                "catid": catid,
                "oid_catalog": name,
                "dist": answer.dist,
                "class_catalog": None,
                "period": None,
            }
            if catid == "allwise":
                allwise[name] = {"oid_catalog": name}
                for column in ["ra", "dec", *MAGNITUDES]:
                    allwise[name][column] = or_null(answer.values.get(column))
    return {
        "object": [objects[key] for key in sorted(objects)],
        "allwise": [allwise[key] for key in sorted(allwise)],
        "xmatch": [xmatch[key] for key in sorted(xmatch)],
    }


def has_all(alert: AlertFacts) -> bool:
    needed = [alert.ra, alert.dec, alert.jd, alert.ndethist, alert.ncovhist]
    return alert.oid not in (None, "") and "\0" not in str(alert.oid) and all(or_null(v) is not None for v in needed)


def mjd(jd):
    return None if or_null(jd) is None else jd - 2400000.5


def or_null(value):
    return None if value is None or not math.isfinite(value) else value


# PostgreSQL takes subnormal numbers from text, but not every version of it does.
_numbers = st.floats(-400, 400, allow_subnormal=False)
_holes = st.one_of(st.none(), st.sampled_from([math.nan, math.inf, -math.inf]), _numbers)
_counts = st.one_of(st.none(), st.integers(0, 2**31 - 1))


@st.composite
def _alert_facts(draw):
    complete = draw(st.booleans())
    return facts(
        draw(st.sampled_from(["ZTF1", "ZTF2", "ZTF3", 4, "Ü5", None, "", "a\0b"])),
        ra=draw(_numbers),
        dec=draw(_numbers),
        jd=2459000.5 if complete else draw(_holes),
        ndethist=draw(st.integers(0, 9)) if complete else draw(_counts),
        ncovhist=8 if complete else draw(_counts),
        jdstarthist=draw(_holes),
        jdendhist=draw(_holes),
    )


@st.composite
def _answers(draw):
    answers = {}
    if draw(st.booleans()):
        names = st.sampled_from(["J1", "J2", "J3", "J4"])
        values = st.dictionaries(st.sampled_from(["ra", "dec", *MAGNITUDES]), _holes, max_size=4)
        answers["allwise"] = Answer(draw(names), draw(st.floats(0, 1, allow_subnormal=False)), draw(values))
    if draw(st.booleans()):
        answers["gcvs"] = Answer(draw(st.sampled_from([-5, 17, 2**60 + 1])), 0.25)
    return answers


streams = st.lists(st.builds(Detection, _alert_facts(), _answers()), max_size=12)
"""Few objects and few sources, so that keys repeat."""
