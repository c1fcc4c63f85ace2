"""A crossmatcher for a process that runs for months: versions of its catalogues are switched under it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.registry import resolve
from xmatch_hats.errors import SystemFailure, XmatchError
from xmatch_hats.matching.crossmatcher import ENGINES, Crossmatcher
from xmatch_hats.matching.resident.cache import CacheCounts
from xmatch_hats.matching.scheduling import Scheduler
from xmatch_hats.matching.states import folder_state
from xmatch_hats.matching.targets import CatalogTarget, open_targets

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """One content of one catalogue, opened."""

    copy: LocalCopy
    state: str
    """Of its folder, from before it was opened."""

    @property
    def label(self) -> str:
        """The version's folder, and the beginning of the identity of what is in it."""
        return f"{self.copy.path.name} ({self.copy.version[:8]})"


class FollowingMatcher:
    """A crossmatcher that takes up a switched version of its catalogues between batches.

    A catalogue is followed by its name, or by its folder: another version that the name leads to now, and another copy
    that lies in the folder now, are opened at the next call of `current`. What a batch is matched with is never more
    than one version of each.

    Parameters
    ----------
    targets : sequence of CatalogTarget
        Their copies are names or folders. A target without a name is called by the name of its first version for good.
    scheduler : Scheduler
        What all versions run on; it stays open.
    engine : str, optional
        As for `Crossmatcher`.
    cache_bytes : int, optional
        As for `Crossmatcher`.
    on_switch : callable, optional
        Told, after a switch, the name of a catalogue and the labels of its old and its new version.

    Raises
    ------
    XmatchError
        A catalogue cannot be opened now: whatever `open_targets` raises.
    """

    def __init__(
        self,
        targets: Sequence[CatalogTarget],
        scheduler: Scheduler,
        *,
        engine: str = ENGINES[0],
        cache_bytes: int | None = None,
        on_switch: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._engine = engine
        self._cache_bytes = cache_bytes
        self._on_switch = on_switch
        self._earlier = CacheCounts()
        """Of the versions that were left."""
        self._versions = [_open(target) for target in targets]
        self._targets = [
            replace(target, name=target.name or version.copy.name)
            for target, version in zip(targets, self._versions, strict=True)
        ]
        self._matcher = self._open_matcher(self._versions)

    @property
    def versions(self) -> dict[str, str]:
        """Labels of the versions that are open, by the names of their catalogues."""
        return {str(target.name): version.label for target, version in zip(self._targets, self._versions, strict=True)}

    def current(self) -> Crossmatcher:
        """Crossmatcher of the versions that the names and folders lead to now; to be called before each batch.

        Returns
        -------
        Crossmatcher
            The same one as before where nothing has changed. One that was given before stays usable until then, though
            a version that it reads may be gone.

        Raises
        ------
        SystemFailure
            A version cannot be opened. Nothing is matched with the old one meanwhile: the call may be repeated until it
            succeeds, with the new version mended or the old one back.
        """
        versions = [self._look(target, open_) for target, open_ in zip(self._targets, self._versions, strict=True)]
        changed = [
            (str(target.name), old, new)
            for target, old, new in zip(self._targets, self._versions, versions, strict=True)
            if new is not old
        ]
        if not changed:
            return self._matcher
        try:
            matcher = self._open_matcher(versions)
        except (XmatchError, OSError) as error:
            raise _failure(", ".join(f"{name} {new.label}" for name, _, new in changed), error) from error
        self._earlier.add(self._matcher.cache_counts())
        self._matcher, self._versions = matcher, versions
        for name, old, new in changed:
            logger.info("%s is now at version %s, which was %s", name, new.label, old.label)
            if self._on_switch is not None:
                self._on_switch(name, old.label, new.label)
        return matcher

    def cache_counts(self) -> CacheCounts:
        """Sum `Crossmatcher.cache_counts` over all versions; the bytes are those that are open now."""
        counts = replace(self._earlier)
        counts.add(self._matcher.cache_counts())
        return counts

    def close(self) -> None:
        """Close the crossmatcher; the scheduler stays open."""
        self._matcher.close()

    def _look(self, target: CatalogTarget, open_: Version) -> Version:
        """Version that a target leads to now: the one that is open, or another one, opened."""
        path: Path | None = None
        try:
            path = _folder(target)
            if path == open_.copy.path and folder_state(path) == open_.state:
                return open_
            return _open(target)
        except (XmatchError, OSError) as error:
            raise _failure(f"{target.name} {path.name if path else ''}".strip(), error) from error

    def _open_matcher(self, versions: Sequence[Version]) -> Crossmatcher:
        targets = [replace(target, copy=version.copy) for target, version in zip(self._targets, versions, strict=True)]
        matcher = Crossmatcher(targets, scheduler=self._scheduler, engine=self._engine, cache_bytes=self._cache_bytes)
        matcher.open()
        for version in versions:
            _require_state(version)
        return matcher


def _folder(target: CatalogTarget) -> Path:
    """Folder itself: a link in the way may be turned while a batch reads through it."""
    asked = target.copy.path if isinstance(target.copy, LocalCopy) else target.copy
    return resolve(asked).resolve()


def _open(target: CatalogTarget) -> Version:
    """Open what a target leads to, and check what is asked of it."""
    path = _folder(target)
    state = folder_state(path)
    version = Version(LocalCopy.open(path), state)
    open_targets([replace(target, copy=version.copy)])
    _require_state(version)
    return version


def _require_state(version: Version) -> None:
    if folder_state(version.copy.path) != version.state:
        raise SystemFailure("the copy was replaced while it was opened", place=version.copy.path)


def _failure(what: str, error: XmatchError | OSError) -> SystemFailure:
    return SystemFailure(
        f"the version that it leads to cannot be used: {error}",
        place=what,
        hint="mend it, or go back with `xmatch-hats catalog use`",
    )
