"""VOTables in any serialisation (TABLEDATA, BINARY, BINARY2), read whole by astropy: memory is bounded by the table."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io.votable import exceptions, parse
from astropy.utils.exceptions import AstropyWarning

from xmatch_hats.errors import TableError
from xmatch_hats.tables.convert import from_numpy, unit_text
from xmatch_hats.tables.memory import MemorySource
from xmatch_hats.tables.metadata import make_field
from xmatch_hats.tables.source import check_names
from xmatch_hats.tables.streams import BROKEN, one_line, open_stream


class VotableSource(MemorySource):
    """The first table of a VOTable file; NaN and empty cells are missing values."""

    def __init__(self, path: Path) -> None:
        try:
            with open_stream(path) as stream, warnings.catch_warnings():
                # Much of what servers send departs from the standard's letter.
                warnings.simplefilter("ignore", AstropyWarning)
                votable = parse(stream, verify="ignore")
            table = next(iter(votable.iter_tables()), None)
        except (*BROKEN, ExpatError, exceptions.VOTableSpecError, ValueError, TypeError, IndexError) as error:
            raise TableError(f"not a whole VOTable: {one_line(error)}", place=path) from error
        if table is None:
            raise TableError("holds no table", place=path)
        names = [field.name for field in table.fields]
        check_names(names, path)
        columns = [_convert(field, table, path) for field in table.fields]
        arrow = pa.Table.from_arrays([array for _, array in columns], schema=pa.schema([field for field, _ in columns]))
        super().__init__(path, arrow)


def _convert(field: Any, table: Any, path: Path) -> tuple[pa.Field, pa.Array]:
    # Fields are kept under their IDs, which are unique where names need not be.
    values = table.array[field.ID] if len(table.array) else np.ma.zeros(0, dtype=table.array.dtype[field.ID])
    try:
        array = _strings(values) if field.datatype in ("char", "unicodeChar") else _values(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TableError(f"column {field.name} cannot be read: {error}", place=path, hint="drop it") from error
    unit = unit_text(field.unit)
    texts = {"unit": unit, "ucd": field.ucd, "description": field.description}
    return make_field(field.name, array.type, **texts), array


def _strings(values: Any) -> pa.Array:
    gaps = np.ma.getmaskarray(values)
    if gaps.ndim > 1:
        raise pa.ArrowInvalid("arrays of strings have no counterpart")
    items = [None if gap else str(value) for value, gap in zip(np.ma.getdata(values), gaps, strict=True)]
    text = pa.array(items, pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _values(values: Any) -> pa.Array:
    data, mask = np.ma.getdata(values), np.ma.getmaskarray(values)
    if data.dtype.kind == "f":
        mask = mask | np.isnan(data)
    return from_numpy(data, mask)
