"""From two catalogues and what is asked of them to a plan: what can be refused is refused here, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xmatch_hats.bulk.catalogs.memory import Budget
from xmatch_hats.bulk.catalogs.plan import Plan, output_schema
from xmatch_hats.bulk.catalogs.settings import Settings
from xmatch_hats.bulk.catalogs.units import Side, Unit
from xmatch_hats.catalogs.convert import artifact_name, margin_order
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.coverage import Coverage
from xmatch_hats.catalogs.importer import DEFAULT_MARGIN_ARCSEC
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.catalogs.margins import Tiles
from xmatch_hats.catalogs.where import Condition
from xmatch_hats.errors import CatalogError, UsageError
from xmatch_hats.matching.partitions import PartitionIndex

MAP_ORDERS = (8, 10)
"""Orders of the map of rows: at least and at most, else that of the finest partition."""


def make_plan(left: LocalCopy, right: LocalCopy, settings: Settings, folder: Path, budget: Budget) -> Plan:
    """Plan a join, without the right side's coverage: to estimate it may take a while.

    Parameters
    ----------
    left, right : LocalCopy
    settings : Settings
    folder : Path
        Where the work will lie.
    budget : Budget

    Raises
    ------
    CatalogError
        The list of the margin's partitions cannot be read, or a catalogue lacks a column.
    UsageError
        A condition that is none, or a margin that does not fit.
    """
    chosen = _columns(settings.left_columns, left, "--left-columns")
    kept = dict.fromkeys((*chosen, left.ra_column, left.dec_column))
    left_where = _condition(settings.left_where, left, "--left-where")
    first = Side.of(left, [HEALPIX_COLUMN, *kept], where=left_where)
    if settings.region is not None:
        first = _within(first, settings)
    margin = right.margin_path if settings.rule.radius_arcsec <= right.margin_arcsec else None
    right_where = _condition(settings.right_where, right, "--right-where")
    second = Side.of(right, _columns(settings.right_columns, right, "--right-columns"), margin, right_where)
    schema = output_schema(first, second, right.name, settings.rule, settings.join)
    usual = left.margin_arcsec or DEFAULT_MARGIN_ARCSEC
    wide = usual if settings.margin_arcsec is None else settings.margin_arcsec
    low, high = MAP_ORDERS
    finest = max((order for order, _ in first.partitions.pixels), default=0)
    return Plan(
        left=first,
        right=second,
        rule=settings.rule,
        join=settings.join,
        where=None if settings.where is None else Condition.parse(settings.where, schema, "--where"),
        region=settings.region,
        coverage=Coverage.all_sky(),
        schema=schema,
        folder=folder,
        name=artifact_name(f"{left.name}_x_{right.name}"),
        map_order=min(max(low, finest), high),
        margin_arcsec=wide,
        margin_order=_margin_order(wide, finest),
        tiles=Tiles.around(first.partitions.pixels),
        budget=budget,
    )


def unit_bytes(unit: Unit, plan: Plan) -> int:
    """Bytes that a unit reads, about."""
    files = (*map(plan.left.file, unit.left), *map(plan.right.file, unit.right))
    return sum(path.stat().st_size for path in files if path.exists())


def _within(side: Side, settings: Settings) -> Side:
    """The side, with only those partitions that a region touches."""
    assert settings.region is not None
    ranges = settings.region.outer_ranges()
    _, numbers = side.partitions.overlapping(ranges[:, 0], ranges[:, 1])
    touched = [side.partitions.pixels[number] for number in sorted(set(numbers.tolist()))]
    return replace(side, partitions=PartitionIndex.from_pixels(touched))


def _columns(names: Sequence[str] | None, copy: LocalCopy, option: str) -> list[str]:
    try:
        return copy.column_names(names)
    except CatalogError as error:
        # As by every verb: what the catalogue does not have is no fault of the command line.
        raise CatalogError(f"{copy.path}: {error.message}", place=option, hint=error.hint, value=error.value) from error


def _condition(text: str | None, copy: LocalCopy, option: str) -> Condition | None:
    return None if text is None else Condition.parse(text, copy.schema, option)


def _margin_order(margin_arcsec: float, finest: int) -> int:
    order = margin_order(margin_arcsec)
    if order <= finest:
        raise UsageError(
            f"a margin of {margin_arcsec:g} arcsec is too wide for the left side's partitions of order {finest}",
            hint="ask for a narrower one with --margin", value=margin_arcsec,
        )  # fmt: skip
    return order
