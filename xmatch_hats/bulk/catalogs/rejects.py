"""Left rows without a position: they have no place in a partition, and are kept in a file of their own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmatch_hats.bulk.catalogs.units import Side
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.matching.assemble import RESULT_METADATA, STATUS
from xmatch_hats.matching.status import MatchStatus
from xmatch_hats.sphere import PositionFault, position_faults

REASON = "_reason"


def rejected_schema(left: Side) -> pa.Schema:
    """The left columns but for the index, which they have none of, the status and the reason."""
    fields = [left.schema.field(name) for name in left.columns if name != HEALPIX_COLUMN]
    told = pa.field(REASON, pa.string(), metadata={b"description": b"Why the row has no position"})
    return pa.schema([*fields, pa.field(STATUS, pa.string(), metadata=RESULT_METADATA[STATUS]), told])


def with_reasons(rows: pa.Table, left: Side) -> pa.Table:
    """Rows without a position, as they are kept.

    Parameters
    ----------
    rows : pyarrow.Table
        n of them, with the left columns at least.
    left : Side
    """
    schema = rejected_schema(left)
    ra, dec = (pc.cast(rows[name], pa.float64()).to_numpy() for name in (left.ra, left.dec))
    reasons = [PositionFault(fault).reason for fault in position_faults(ra, dec).tolist()]
    status = np.full(len(rows), MatchStatus.REJECTED.label)
    kept = [rows[field.name].cast(field.type) for field in list(schema)[:-2]]
    return pa.table([*kept, pa.array(status, pa.string()), pa.array(reasons, pa.string())], schema=schema)
