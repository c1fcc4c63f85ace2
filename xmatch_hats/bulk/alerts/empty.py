"""The collection of an archive in which no alert could be matched: no rows, and all else that a collection has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from xmatch_hats.bulk.catalogs.metadata import Collection, write_collection
from xmatch_hats.bulk.runs.provenance import software
from xmatch_hats.catalogs.convert import artifact_name
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.importer import DEFAULT_MARGIN_ARCSEC
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.catalogs.manifest import CoverageRecord, Manifest, SourceRecord, hash_files


def empty_collection(
    schema: pa.Schema, out: Path, name: str, origin: Sequence[SourceRecord], settings: dict[str, Any]
) -> None:
    """Write a collection without rows, whose positions would be ``ra`` and ``dec``.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the rows that it does not have.
    out : Path
        Replaced if it is there.
    name : str
    origin : sequence of SourceRecord
    settings : dict
        For the manifest; JSON values.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    shutil.rmtree(out, ignore_errors=True)
    if HEALPIX_COLUMN not in schema.names:
        schema = schema.insert(0, pa.field(HEALPIX_COLUMN, pa.int64()))
    empty = Collection(out, artifact_name(name), schema, map_order=0, margin_arcsec=DEFAULT_MARGIN_ARCSEC)
    properties = {"catalog_type": "object", "ra_column": "ra", "dec_column": "dec"}
    write_collection(empty, [], [], np.zeros(12, np.int64), properties)
    coverage = Coverage("rows", np.zeros((0, 2), np.int64), 0, "no rows")
    coverage.save(out)
    Manifest(
        software=software(), name=name, definition=None, sources=tuple(origin), settings=settings, rows=0,
        id_column=None, margin_arcsec=empty.margin_arcsec, coverage=CoverageRecord(**coverage.summary()),
        self_check=None, files=hash_files(out),
    ).write(out)  # fmt: skip
