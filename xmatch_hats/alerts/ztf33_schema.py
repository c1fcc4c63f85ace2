"""The schema of ``--output-schema ztf-3.3``: ZTF alert packets of version 3.3 with ``xmatches``.

Its parsing canonical form is the one that consumers of the stream know, branch orders included.
"""

from __future__ import annotations

import json
from typing import Any

from xmatch_hats.alerts.plan import XMATCHES, XMATCHES_TYPE

_CANDIDATE = """
    jd double, fid int, pid long, diffmaglim float?, pdiffimfilename string?, programpi string?, programid int,
    candid long, isdiffpos string, tblid long?, nid int?, rcid int?, field int?, xpos float?, ypos float?,
    ra double, dec double, magpsf float, sigmapsf float, chipsf float?, magap float?, sigmagap float?,
    distnr float?, magnr float?, sigmagnr float?, chinr float?, sharpnr float?, sky float?, magdiff float?,
    fwhm float?, classtar float?, mindtoedge float?, magfromlim float?, seeratio float?, aimage float?,
    bimage float?, aimagerat float?, bimagerat float?, elong float?, nneg int?, nbad int?, rb float?,
    ssdistnr float?, ssmagnr float?, ssnamenr string?, sumrat float?, magapbig float?, sigmagapbig float?,
    ranr double, decnr double, sgmag1 float?, srmag1 float?, simag1 float?, szmag1 float?, sgscore1 float?,
    distpsnr1 float?, ndethist int, ncovhist int, jdstarthist double?, jdendhist double?, scorr double?,
    tooflag int?, objectidps1 long?, objectidps2 long?, sgmag2 float?, srmag2 float?, simag2 float?, szmag2 float?,
    sgscore2 float?, distpsnr2 float?, objectidps3 long?, sgmag3 float?, srmag3 float?, simag3 float?,
    szmag3 float?, sgscore3 float?, distpsnr3 float?, nmtchps int, rfid long, jdstartref double, jdendref double,
    nframesref int, rbversion string, dsnrms float?, ssnrms float?, dsdiff float?, magzpsci float?,
    magzpsciunc float?, magzpscirms float?, nmatches int, clrcoeff float?, clrcounc float?, zpclrcov float?,
    zpmed float?, clrmed float?, clrrms float?, neargaia float?, neargaiabright float?, maggaia float?,
    maggaiabright float?, exptime float?, drb float?, drbversion string,
"""
_PRV_CANDIDATE = """
    jd double, fid int, pid long, diffmaglim float?, pdiffimfilename string?, programpi string?, programid int,
    candid long?, isdiffpos string?, tblid long?, nid int?, rcid int?, field int?, xpos float?, ypos float?,
    ra double?, dec double?, magpsf float?, sigmapsf float?, chipsf float?, magap float?, sigmagap float?,
    distnr float?, magnr float?, sigmagnr float?, chinr float?, sharpnr float?, sky float?, magdiff float?,
    fwhm float?, classtar float?, mindtoedge float?, magfromlim float?, seeratio float?, aimage float?,
    bimage float?, aimagerat float?, bimagerat float?, elong float?, nneg int?, nbad int?, rb float?,
    ssdistnr float?, ssmagnr float?, ssnamenr string?, sumrat float?, magapbig float?, sigmagapbig float?,
    ranr double?, decnr double?, scorr double?, magzpsci float?, magzpsciunc float?, magzpscirms float?,
    clrcoeff float?, clrcounc float?, rbversion string,
"""


def _fields(text: str) -> list[dict[str, Any]]:
    """Fields from ``name type`` pairs; a question mark makes null the second branch of a union, and the default."""
    fields: list[dict[str, Any]] = []
    for pair in filter(str.strip, text.split(",")):
        name, kind = pair.split()
        if kind.endswith("?"):
            fields.append({"name": name, "type": [kind[:-1], "null"], "default": None})
        else:
            fields.append({"name": name, "type": kind})
    return fields


CANDIDATE_FIELDS: dict[str, str] = {
    field["name"]: field["type"] if isinstance(field["type"], str) else field["type"][0]
    for field in _fields(_CANDIDATE)
}
"""Fields of `candidate`, and their types where they are not null."""


def _record(name: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "record", "name": f"ztf.alert{name}", "version": "3.3", "fields": fields}


def _optional(name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "type": [kind, "null"], "default": None}


SCHEMA: dict[str, Any] = _record(
    "",
    [
        *_fields("schemavsn string, publisher string, objectId string, candid long"),
        {"name": "candidate", "type": _record(".candidate", _fields(_CANDIDATE))},
        _optional("prv_candidates", {"type": "array", "items": _record(".prv_candidate", _fields(_PRV_CANDIDATE))}),
        _optional("cutoutScience", _record(".cutout", _fields("fileName string, stampData bytes"))),
        _optional("cutoutTemplate", "ztf.alert.cutout"),
        _optional("cutoutDifference", "ztf.alert.cutout"),
        {"name": XMATCHES, "type": XMATCHES_TYPE, "default": None},
    ],
)
"""As JSON gives it."""

SCHEMA_TEXT = json.dumps(SCHEMA).encode()
"""As it stands in packets."""
