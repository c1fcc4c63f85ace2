"""The tables of a pipeline's database, and which columns of a catalogue they need.

Existing tables are used as they are: they may have more columns, in another order, and other types that hold the
same values. Only `Store.init` creates tables after these definitions, and only those that are missing.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Double, ForeignKey, Integer, MetaData, String, Table

from xmatch_hats.errors import UsageError

METADATA = MetaData()

OBJECT = Table(
    "object",
    METADATA,
    Column("oid", String, primary_key=True),
    Column("ndethist", Integer, nullable=False),
    Column("ncovhist", Integer, nullable=False),
    Column("mjdstarthist", Double),
    Column("mjdendhist", Double),
    Column("firstmjd", Double, nullable=False),
    Column("lastmjd", Double, nullable=False),
    Column("ndet", Integer),
    Column("deltajd", Double, nullable=False),
    Column("meanra", Double, nullable=False),
    Column("meandec", Double, nullable=False),
    Column("step_id_corr", String, nullable=False),
    Column("corrected", Boolean, nullable=False),
    Column("stellar", Boolean, nullable=False),
)
"""Objects that had a match. Later steps of a pipeline change the rows, so a row that is there is never touched."""

ALLWISE = Table(
    "allwise",
    METADATA,
    Column("oid_catalog", String, primary_key=True),
    *(
        Column(name, Double)
        for name in (
            "ra",
            "dec",
            *(f"w{band}mpro" for band in range(1, 5)),
            *(f"w{band}sigmpro" for band in range(1, 5)),
            *(f"{band}_m_2mass" for band in "jhk"),
            *(f"{band}_msig_2mass" for band in "jhk"),
        )
    ),
)
"""Sources of AllWISE that were matched; the columns are called as the catalogue's canonical ones."""

XMATCH = Table(
    "xmatch",
    METADATA,
    Column("oid", String, ForeignKey("object.oid"), primary_key=True),
    Column("catid", String, primary_key=True),
    Column("oid_catalog", String, nullable=False),
    Column("dist", Double, nullable=False),
    Column("class_catalog", String),
    Column("period", Double),
)
"""Which source of which catalogue an object has, and how far it lies, in arcseconds."""

STEP = Table(
    "step",
    METADATA,
    Column("step_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("version", String, nullable=False),
    Column("comments", String, nullable=False),
    Column("date", DateTime, nullable=False),
)
"""Versions of the step that have written here; ``date`` is UTC."""

_OWN = {ALLWISE.name: ALLWISE}

WRITE_ORDER = (OBJECT, *_OWN.values(), XMATCH)
"""The tables of a batch, in the order of their writing: matches refer to objects."""

ALL_TABLES = (*WRITE_ORDER, STEP)
"""Every table, in an order in which they can be made."""


def own_table(definition_name: str | None) -> str | None:
    """Name of the table for a catalogue's own rows.

    Parameters
    ----------
    definition_name : str or None
        Name of the definition of the copy; None for a copy without one.

    Returns
    -------
    str or None
        None where only ``xmatch`` is written.
    """
    return definition_name if definition_name in _OWN else None


def own_columns(table: str | None) -> tuple[str, ...]:
    """Columns of a catalogue's own table apart from its key; they are called as the catalogue's canonical ones.

    Raises
    ------
    UsageError
        There is no such table.
    """
    if table is None:
        return ()
    if table not in _OWN:
        raise UsageError(f"no catalogue has a table {table!r}", hint=f"known are: {', '.join(_OWN)}", value=table)
    return tuple(column.name for column in _OWN[table].columns if not column.primary_key)


def columns_needed(table: str | None, id_column: str) -> tuple[str, ...]:
    """Canonical columns that `CatalogMatches.rows` must have.

    Parameters
    ----------
    table : str or None
        `CatalogMatches.table`.
    id_column : str
        `CatalogMatches.id_column`.

    Raises
    ------
    UsageError
        There is no such table.
    """
    return tuple(dict.fromkeys((id_column, *own_columns(table))))
