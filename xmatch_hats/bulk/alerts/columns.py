"""The columns of an alert: which fields of its packet they are, and their types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from xmatch_hats.alerts.packet import Alert
from xmatch_hats.alerts.plan import FieldPaths
from xmatch_hats.alerts.ztf33_schema import CANDIDATE_FIELDS
from xmatch_hats.catalogs.copy import near_names
from xmatch_hats.errors import PacketError, UsageError
from xmatch_hats.tables.metadata import make_field

_OTHER_VERSIONS = {
    "sgmag": "float", "sgscore": "float", "srmag": "float", "simag": "float", "szmag": "float", "strcat": "int",
    "luid": "long", "name": "string", "ra_lu": "double", "dec_lu": "double", "a": "float", "b2arat": "float",
    "pa": "float", "dm": "float", "dmkin": "float", "btc": "float", "objtype": "float", "m21": "float",
    "source": "string",
}  # fmt: skip
"""Fields of `candidate` in versions of ZTF's schema other than 3.3, all of which are older."""
_ARROW = {"int": pa.int32(), "long": pa.int64(), "float": pa.float32(), "double": pa.float64(), "string": pa.string()}

ALERT_FIELDS: dict[str, pa.DataType] = {
    name: _ARROW[kind] for name, kind in (CANDIDATE_FIELDS | _OTHER_VERSIONS).items()
}
"""Every field that `candidate` has in any version of ZTF's schema, 1.1 to 4.02."""
DEFAULT_COLUMNS = ("jd", "field", "fid", "magpsf", "sigmapsf", "isdiffpos", "rb", "drb")
"""Columns beside candid, objectId, ra and dec."""
FIXED = ("candid", "objectId", "ra", "dec")
PLACE = ("archive_name", "member", "record")
"""Where the alert came from; not called as the folders of the output are, which readers make columns of."""

_ABOUT = {
    "candid": ("", "meta.id;meta.main", "Number of the alert"),
    "objectId": ("", "meta.id", "Name of the object"),
    "ra": ("deg", "pos.eq.ra;meta.main", ""),
    "dec": ("deg", "pos.eq.dec;meta.main", ""),
    "jd": ("d", "time.epoch", "Julian date of the exposure's beginning"),
    "fid": ("", "meta.code;instr.filter", "Filter: 1 g, 2 r, 3 i"),
    "field": ("", "meta.id;obs.field", "ZTF field"),
    "magpsf": ("mag", "phot.mag", "Magnitude of the difference, PSF fit"),
    "sigmapsf": ("mag", "stat.error;phot.mag", ""),
    "archive_name": ("", "meta.id;meta.file", "Archive that the alert came in, without suffixes"),
    "member": ("", "meta.number", "Number of its member in the archive, from 0"),
    "record": ("", "meta.number", "Number of the record in the member, from 0"),
}


def check_columns(names: Sequence[str] | None) -> tuple[str, ...]:
    """Tell which fields of `candidate` are asked for beside those that every row has.

    Parameters
    ----------
    names : sequence of str, optional
        Added to `DEFAULT_COLUMNS`.

    Raises
    ------
    UsageError
        No version of ZTF's schema has one of them.
    """
    for name in names or ():
        if name not in ALERT_FIELDS and name not in FIXED:
            raise UsageError(
                f"no version of ZTF's schema has a field candidate.{name}",
                place="--alert-columns",
                hint=near_names(name, list(ALERT_FIELDS)),
                value=name,
            )
    return tuple(name for name in dict.fromkeys((*DEFAULT_COLUMNS, *(names or ()))) if name not in FIXED)


def field_paths(columns: Sequence[str]) -> FieldPaths:
    """Where packets have the columns, for the reader of packets."""
    return FieldPaths(extra=tuple(f"candidate.{name}" for name in columns))


def row_schema(columns: Sequence[str]) -> pa.Schema:
    """Arrow schema of the rows of alerts, before anything is matched."""
    types = {"candid": pa.int64(), "objectId": pa.string(), "ra": pa.float64(), "dec": pa.float64()}
    types |= {name: ALERT_FIELDS[name] for name in columns}
    types |= {"archive_name": pa.string(), "member": pa.int64(), "record": pa.int32()}
    fields = []
    for name, kind in types.items():
        unit, ucd, description = _ABOUT.get(name, ("", "", ""))
        fields.append(make_field(name, kind, unit=unit, ucd=ucd, description=description))
    return pa.schema(fields)


def check_values(alert: Alert, columns: Sequence[str], record: int) -> None:
    """Refuse an alert with a value that its column cannot hold, which no version of ZTF's schema allows.

    Raises
    ------
    PacketError
    """
    values = dict(zip(columns, alert.extra, strict=True)) | {"candid": alert.candid}
    for name, value in values.items():
        kind = pa.int64() if name == "candid" else ALERT_FIELDS[name]
        if value is not None and not _fits(value, kind):
            raise PacketError(f"has {str(value)[:40]!r} as {name}, which is no {kind}", place=f"record {record}")


def _fits(value: float | int | str, kind: pa.DataType) -> bool:
    if pa.types.is_integer(kind):
        bound = 1 << (kind.bit_width - 1)
        return isinstance(value, int) and -bound <= value < bound
    if pa.types.is_floating(kind):
        return isinstance(value, int | float)
    return True


def make_rows(places: Sequence[tuple[int, int]], alerts: Sequence[Alert], archive: str, schema: pa.Schema) -> pa.Table:
    """Make rows of alerts that `check_values` lets pass.

    Parameters
    ----------
    places : sequence of (int, int)
        Member and record of each.
    alerts : sequence of Alert
    archive : str
        Its name.
    schema : pyarrow.Schema
        As `row_schema` gives it.
    """
    count = len(alerts)
    columns: dict[str, Any] = {
        "candid": [alert.candid for alert in alerts],
        "objectId": [None if alert.object_id is None else str(alert.object_id) for alert in alerts],
        "ra": [alert.ra for alert in alerts],
        "dec": [alert.dec for alert in alerts],
        "archive_name": [archive] * count,
        "member": [member for member, _ in places],
        "record": [record for _, record in places],
    }
    extra = [name for name in schema.names if name not in columns]
    for number, name in enumerate(extra):
        columns[name] = _values([alert.extra[number] for alert in alerts], schema.field(name).type)
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)


def _values(values: list[Any], kind: pa.DataType) -> list[Any]:
    # One version writes isdiffpos as a number, all others as text.
    if pa.types.is_string(kind):
        return [value if value is None or isinstance(value, str) else str(value) for value in values]
    if pa.types.is_floating(kind):
        return [None if value is None else float(value) for value in values]
    return values
