"""What the tables need of a batch: facts of its alerts, and what catalogues answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """What the tables need of one alert, with the values of its packet; None for what the packet lacks.

    Packets are not trusted: a value of another type, or one that is not finite, counts as missing.
    """

    oid: str | int | None
    """Name of the object that the alert is a detection of; a number becomes text."""
    ra: float
    """Degrees."""
    dec: float
    """Degrees."""
    jd: float | None
    """Julian date of the detection."""
    ndethist: int | None
    """Detections so far at the position, as the survey counts them."""
    ncovhist: int | None
    """Exposures so far of the position, as the survey counts them."""
    jdstarthist: float | None
    """Julian date of the earliest detection that ``ndethist`` counts."""
    jdendhist: float | None
    """Julian date of the latest one."""


@dataclass(frozen=True)
class CatalogMatches:
    """The nearest rows of one catalogue for a batch of alerts; m of the alerts have one."""

    catid: str
    """The catalogue's name, ``xmatch.catid``."""
    table: str | None
    """Table for the catalogue's own rows, by the copy's definition (`xmatch_hats.store.tables.own_table`); None for
    a catalogue that has none."""
    alert: NDArray[np.int64]
    """Number of the alert in the batch, ascending, shape (m,)."""
    distance_arcsec: NDArray[np.float64]
    """Separation, shape (m,)."""
    rows: pa.Table
    """The m rows under canonical column names: those of `xmatch_hats.store.tables.columns_needed`, and any others."""
    id_column: str
    """Column of `rows` that names a source, ``xmatch.oid_catalog``; as text."""
