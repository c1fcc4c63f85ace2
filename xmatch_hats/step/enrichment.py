"""The enricher of the moment: of the versions of the catalogues that their names lead to now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xmatch_hats.alerts.enrich import Enricher, Matcher
from xmatch_hats.alerts.splice import Output
from xmatch_hats.alerts.xmatches import default_columns
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.errors import CatalogError, UsageError
from xmatch_hats.matching.targets import CatalogTarget
from xmatch_hats.step.tables import columns_for_tables

if TYPE_CHECKING:
    from xmatch_hats.matching.crossmatcher import Crossmatcher
    from xmatch_hats.matching.following import FollowingMatcher
    from xmatch_hats.step.settings.catalogs import CatalogSettings


def stream_targets(catalogs: Sequence[CatalogSettings], *, with_tables: bool) -> list[CatalogTarget]:
    """Say what is matched against.

    Parameters
    ----------
    catalogs : sequence of CatalogSettings
    with_tables : bool
        Whether rows of a database are made, which need columns that ``xmatches`` may not have.
    """
    return [_target(catalog, with_tables=with_tables) for catalog in catalogs]


def _target(catalog: CatalogSettings, *, with_tables: bool) -> CatalogTarget:
    def columns(copy: LocalCopy) -> list[str]:
        needed = columns_for_tables(copy) if with_tables else ()
        return list(dict.fromkeys([*wire_columns(copy, catalog.columns), *needed]))

    return CatalogTarget(catalog.path or catalog.name, catalog.name, catalog.radius, columns)


def wire_columns(copy: LocalCopy, asked: Sequence[str] | None = None) -> list[str]:
    """Columns of a copy that go into ``xmatches``: those that are asked for, else its definition's, else all that can.

    Raises
    ------
    CatalogError
        The copy has no such column.
    """
    if asked is not None:
        return copy.column_names(asked)
    definition = copy.definition
    preferred = (definition.xmatch_columns or definition.default_columns) if definition else ()
    return default_columns(copy.schema, preferred)


def make_enricher(matcher: Matcher, output: Output, catalogs: Sequence[CatalogSettings]) -> Enricher:
    """Make what enriches packets with the columns that are asked for.

    Parameters
    ----------
    matcher : Matcher
        Of the targets that `stream_targets` gives.
    output : Output
    catalogs : sequence of CatalogSettings

    Raises
    ------
    CatalogError
        A copy lacks a column that is asked for, or ``xmatches`` cannot hold it.
    """
    asked = {catalog.name: catalog.columns for catalog in catalogs}
    columns = {target.name: wire_columns(target.copy, asked[target.name]) for target in matcher.targets}
    try:
        return Enricher(matcher, output, columns)
    except UsageError as error:
        # A version that is switched to may have other types: to a running step that is a catalogue to be mended.
        raise CatalogError(error.message, place=error.place, hint=error.hint, value=error.value) from error


class Enrichment:
    """Gives the enricher for the next batch.

    Parameters
    ----------
    matcher : FollowingMatcher
    output : Output
    catalogs : sequence of CatalogSettings
    """

    def __init__(self, matcher: FollowingMatcher, output: Output, catalogs: Sequence[CatalogSettings]) -> None:
        self.output = output
        self._following = matcher
        self._catalogs = tuple(catalogs)
        self._matcher: Crossmatcher | None = None
        self._enricher: Enricher | None = None
        self._nulled: Counter[str] = Counter()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the catalogues."""
        return tuple(catalog.name for catalog in self._catalogs)

    @property
    def nulled(self) -> Counter[str]:
        """By catalogue, values so far that became null because a 32-bit float cannot hold them."""
        return self._nulled + Counter(self._enricher.nulled if self._enricher else {})

    def __call__(self) -> Enricher:
        """Open what has changed since the last batch, and give what enriches with it.

        Raises
        ------
        SystemFailure, CatalogError
            A catalogue cannot be opened.
        """
        matcher = self._following.current()
        if matcher is not self._matcher or self._enricher is None:
            enricher = make_enricher(matcher, self.output, self._catalogs)
            self._nulled = self.nulled
            self._matcher, self._enricher = matcher, enricher
        return self._enricher
