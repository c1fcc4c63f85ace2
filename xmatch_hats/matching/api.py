"""One call for one match: any table against any catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from astropy import units as u
from numpy.typing import NDArray

from xmatch_hats.catalogs.copy import LocalCopy, near_names
from xmatch_hats.errors import TableError, UsageError
from xmatch_hats.matching.algorithm import check_lsdb_margin, id_of_lsdb
from xmatch_hats.matching.assemble import Join, Names, added_columns, check_join
from xmatch_hats.matching.batch import merge_found, sort_positions
from xmatch_hats.matching.crossmatcher import (
    CHUNK_ROWS,
    ENGINES,
    Crossmatcher,
    check_engine,
    finish,
    open_side,
)
from xmatch_hats.matching.forms import Form, form_of, is_lsdb, is_table, to_arrow
from xmatch_hats.matching.lsdb_engine import match_sides
from xmatch_hats.matching.plain import PlainSide
from xmatch_hats.matching.progress import progress_bar
from xmatch_hats.matching.result import MatchResult
from xmatch_hats.matching.rule import MatchRule
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.targets import CatalogTarget, open_targets

if TYPE_CHECKING:
    import lsdb
    from distributed import Client

    from xmatch_hats.catalogs.coverage import Coverage
    from xmatch_hats.matching.lsdb_side import LsdbSide

__all__ = ["PLAIN_NAME", "crossmatch"]

PLAIN_NAME = "right"
"""What a right side that has no name of its own is called."""


def crossmatch(  # noqa: PLR0913 - one call with everything by keyword is what the interactive user asks for
    left: Any,
    right: Any,
    radius: u.Quantity | float = 1.0 * u.arcsec,
    *,
    n_neighbors: int | None = 1,
    min_radius: u.Quantity | float = 0.0,
    how: Join = "left",
    columns: Sequence[str] | None = None,
    ra: str | None = None,
    dec: str | None = None,
    name: str | None = None,
    names: Names | str | None = None,
    client: Client | None = None,
    workers: int | None = None,
    engine: str = ENGINES[0],
    progress: bool | None = None,
) -> Any:
    """Match the rows of a table with those of a catalogue that lie within a radius.

    Parameters
    ----------
    left : pandas.DataFrame, astropy Table, QTable or SkyCoord, pyarrow.Table, or lsdb.Catalog
        What to match. pandas' index is kept.
    right : str, Path, LocalCopy, lsdb.Catalog, or a table of one of the kinds of `left`
        What to match with: a local copy by its name or folder, or opened; an LSDB catalogue with a margin; or a table,
        which is sorted in memory.
    radius : Quantity or float, optional
        Angle, or number of arcseconds; inclusive. Within the right side's margin, unless that is a table.
    n_neighbors : int or None, optional
        How many of the nearest rows; None is all within the radius.
    min_radius : Quantity or float, optional
        Only rows beyond this separation count, where it is above 0.
    how : {"left", "inner"}, optional
        Whether rows without a match are kept; both keep the order of `left`.
    columns : sequence of str, optional
        Columns of the right side to answer with, by its own names or, for a copy with a definition, VizieR's. By
        default all.
    ra, dec : str, optional
        Coordinate columns of `left`, in degrees; by default found by name or UCD.
    name : str, optional
        What the right side is called in suffixes; by default its own name, or "right".
    names : mapping or "vizier", optional
        What to call the right side's columns; "vizier" for a copy with a definition.
    client : distributed.Client, optional
        Where to compute; by default in threads of this process.
    workers : int, optional
        Worker processes of a cluster for this one call, in place of a client.
    engine : str, optional
        How a table is matched with a copy; see `Crossmatcher`. It cannot be chosen for an LSDB catalogue on the left or
        a table on the right, which have a way of their own; an LSDB catalogue on the right always takes LSDB's.
    progress : bool, optional
        Whether to draw a bar on stderr. By default at a terminal and in a notebook, once a match takes seconds. A match
        that is interrupted leaves everything as it was, a given client among it. A table or an LSDB catalogue on the
        right has no bar, and a lazy answer has Dask's.

    Returns
    -------
    same kind as `left`
        A QTable for a SkyCoord; for an LSDB catalogue a lazy one, with its partitions, rows and index. The columns of
        `left`, those of the right side (a name that is taken gets ``_NAME``), ``_dist_arcsec``, ``_status``, and
        ``_rank`` where a row may have several matches. The status of a row without match is ``unmatched``, or
        ``outside-coverage`` where a local copy does not cover its whole disc; a table or an LSDB catalogue on the right
        is all that was asked, and has no outside. ``rejected`` rows have no valid position.

    Raises
    ------
    RadiusError
        A radius that is not positive, or beyond the margin of the right side.
    TableError, UsageError, CatalogError
        Missing columns, arguments that cannot mean anything, a copy that is missing or damaged.

    Examples
    --------
    >>> import pandas as pd
    >>> left = pd.DataFrame({"name": ["a", "b"], "ra": [10.0, 20.0], "dec": [0.0, 0.0]})
    >>> right = pd.DataFrame({"ra": [10.0, 30.0], "dec": [1 / 3600, 0.0], "mag": [15.5, 16.0]})
    >>> matched = crossmatch(left, right, radius=2, columns=["mag"])
    >>> matched["_status"].tolist()
    ['matched', 'unmatched']
    >>> crossmatch(left, right, radius=2 * u.arcsec, how="inner")["_dist_arcsec"].round(6).tolist()
    [1.0]
    """
    rule = MatchRule(radius, n_neighbors, min_radius)
    check_join(how, {})
    scheduler = {"client": client} if client is not None else {"workers": workers or 0}
    if client is not None and workers is not None:
        raise UsageError("give only one of a Dask client and a number of workers")
    _require_use_of(engine, left, right)
    if not (is_lsdb(right) or is_table(right) or isinstance(right, str | Path | LocalCopy)):
        raise UsageError(
            f"nothing can be matched with a {type(right).__name__}",
            hint="give a copy's name or folder, a pandas, astropy or pyarrow table, a SkyCoord, or an LSDB catalogue",
        )
    if is_lsdb(left):
        if any(given is not None for given in (ra, dec, client, workers)):
            raise UsageError(
                "ra, dec, client and workers mean nothing for an LSDB catalogue on the left: it knows its coordinates, "
                "and its answer is computed where and when you say"
            )
        return _match_lazily(left, right, rule, how, (columns, name, names))
    form = form_of(left, ra, dec)
    if is_lsdb(right) or is_table(right):
        title, result = _match_unregistered(form, right, rule, (columns, name), Scheduler(**scheduler))
    else:
        target = CatalogTarget(right, name, rule.radius_arcsec, columns)
        with Crossmatcher(
            [target],
            n_neighbors=rule.n_neighbors,
            min_radius_arcsec=rule.min_radius_arcsec,
            engine=engine,
            **scheduler,
        ) as matcher:
            with progress_bar(len(form.ra), progress) as tell:
                ((title, result),) = matcher.match(form.ra, form.dec, progress=tell).items()
            names = _names(names, matcher.targets[0].copy)
    rows, added = added_columns(form.names, {title: result}, join=how, names=_names(names, None))
    return form.append(rows, added)


def _require_use_of(engine: str, left: Any, right: Any) -> None:
    """Refuse an engine that there is not, or that is chosen for what no engine matches."""
    check_engine(engine)
    if engine != ENGINES[0] and (is_lsdb(left) or is_table(right)):
        raise UsageError(
            f"the engine {engine!r} is for a table on the left and a copy on the right",
            hint="leave it out: an LSDB catalogue on the left and a table on the right have ways of their own",
            value=engine,
        )


def _match_unregistered(
    form: Form,
    right: Any,
    rule: MatchRule,
    asked: tuple[Sequence[str] | None, str | None],
    scheduler: Scheduler,
) -> tuple[str, MatchResult]:
    """Match with a right side that nobody has recorded a coverage of."""
    columns, name = asked
    if is_lsdb(right):
        positions, faults = sort_positions(form.ra, form.dec)
        side = _side_of_lsdb(right, columns, rule)
        try:
            parts = [match_sides([(side, rule)], chunk, scheduler)[0] for chunk in positions.chunks(CHUNK_ROWS)]
        finally:
            scheduler.close()
        found = merge_found(parts, side.answer.schema)
        name = name or right.name
    else:
        there, table = form_of(right), to_arrow(right)
        wanted = list(table.column_names) if columns is None else _known(columns, table.column_names)
        plain = PlainSide(table, there.ra, there.dec, wanted)
        positions, faults = sort_positions(form.ra, form.dec)
        found = plain.match(positions, rule)
    return name or PLAIN_NAME, finish(found, positions, faults, n_neighbors=rule.n_neighbors)


def _match_lazily(
    left: lsdb.Catalog,
    right: Any,
    rule: MatchRule,
    how: Join,
    asked: tuple[Sequence[str] | None, str | None, Names | str | None],
) -> lsdb.Catalog:
    from xmatch_hats.matching.lazy import LazyPlan, match_lazily

    columns, name, names = asked
    _require_positions(left, "left")
    if is_table(right):
        raise UsageError(
            "an LSDB catalogue can be matched with a copy or an LSDB catalogue, not with a table",
            hint="match the table with the catalogue instead, or make a catalogue of it with lsdb.from_dataframe",
        )
    if is_lsdb(right):
        side, is_covered, renamed = _side_of_lsdb(right, columns, rule), None, _names(names, None)
        title = name or right.name
    else:
        (target,) = open_targets(
            [CatalogTarget(right, name, rule.radius_arcsec, columns)],
            n_neighbors=rule.n_neighbors,
            min_radius_arcsec=rule.min_radius_arcsec,
        )
        side, title, renamed = open_side(target), target.name, _names(names, target.copy)
        is_covered = partial(_covers, target.copy.coverage, rule.radius_arcsec)
    info = left.hc_structure.catalog_info
    return match_lazily(left, side, LazyPlan(side.answer, rule, info, title, how, renamed, is_covered))


def _covers(coverage: Coverage, radius_arcsec: float, ra: NDArray[Any], dec: NDArray[Any]) -> NDArray[Any]:
    return coverage.contains_discs(ra, dec, radius_arcsec)


def _side_of_lsdb(right: lsdb.Catalog, columns: Sequence[str] | None, rule: MatchRule) -> LsdbSide:
    """Take an LSDB catalogue as it is: whatever was done to it is what is matched with."""
    from xmatch_hats.matching.lsdb_side import LsdbSide

    check_lsdb_margin(rule.radius_arcsec, right)
    schema = pa.Schema.from_pandas(right.meta, preserve_index=False).remove_metadata()
    wanted = schema.names if columns is None else _known(columns, schema.names)
    _require_positions(right, "right")
    asked = pa.schema([schema.field(column) for column in wanted])
    return LsdbSide(right, asked, id_of_lsdb(right), whole_margin=False)


def _require_positions(catalog: lsdb.Catalog, side: str) -> None:
    info = catalog.hc_structure.catalog_info
    for column in (info.ra_column, info.dec_column):
        if column not in catalog.columns:
            raise TableError(
                f"the {side} side lacks its coordinate column {column!r}",
                hint="keep it among the columns",
                value=column,
            )


def _known(columns: Sequence[str], there: Sequence[str]) -> list[str]:
    if isinstance(columns, str):
        raise UsageError(
            f"columns are a sequence of names, not the text {columns!r}", hint=f"write [{columns!r}]", value=columns
        )
    for column in columns:
        if column not in there:
            raise TableError(
                f"the right side has no column {column!r}", hint=near_names(str(column), there), value=column
            )
    return list(dict.fromkeys(columns))


def _names(names: Names | str | None, copy: LocalCopy | None) -> Names | None:
    if names is None or isinstance(names, Mapping):
        return names
    definition = copy.definition if copy is not None else None
    if names != "vizier" or definition is None:
        raise UsageError(
            f"there are no {names!r} names for this right side",
            hint='give a mapping, or "vizier" with a copy that has a definition',
            value=names,
        )
    return {column: definition.vizier_name(column) for column in copy.schema.names} if copy is not None else None


def __dir__() -> list[str]:
    return sorted(__all__)
