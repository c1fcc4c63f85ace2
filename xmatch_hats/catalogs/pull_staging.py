"""The hidden folder beside a copy into which its rows are pulled, and what makes an interrupted pull resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.errors import CatalogError

SUFFIX = ".pulling"
_RECIPE = "recipe.json"


class PullStaging:
    """The folder ``.NAME.pulling``; a context manager that holds its lock.

    The folder outlives an error or a kill, and keeps what was fetched for a pull by the same recipe; another recipe
    starts clean. It is removed when the copy is there.

    Parameters
    ----------
    out : Path
        Final folder of the copy; must not exist.
    recipe : dict
        What determines the fetched rows, JSON values only.
    say : callable
        Told, in one sentence, whether the work resumes or starts clean.
    """

    def __init__(self, out: Path, recipe: dict[str, Any], say: Callable[[str], None]) -> None:
        self.out = out
        self.folder = out.parent / f".{out.name}{SUFFIX}"
        self.parts = self.folder / "parts"
        self._recipe = json.loads(json.dumps(recipe))
        self._say = say
        self._lock = FileLock(self.folder / "lock")

    def __enter__(self) -> PullStaging:
        refuse_existing(self.out)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise CatalogError(
                "is being pulled by another process", place=self.out, hint="wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise CatalogError(f"cannot be written to: {error.strerror}", place=self.out.parent) from error
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def _begin(self) -> None:
        recipe = self.folder / _RECIPE
        try:
            earlier = json.loads(recipe.read_text(encoding="utf-8"))
        except FileNotFoundError:
            earlier = None
        except (OSError, ValueError):
            earlier = {}
        if earlier == self._recipe:
            self._say("resuming the pull that was interrupted: what has not changed at its source is kept")
            for leftover in [*self.parts.glob("*.fetching"), *self.parts.glob("*.new")]:
                leftover.unlink()
            return
        if earlier is not None:
            self._say("an interrupted pull is here, but of another catalogue, region or columns: starting clean")
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir()
        fresh = self.folder / f"{_RECIPE}.new"
        fresh.write_text(json.dumps(self._recipe, sort_keys=True), encoding="utf-8")
        fresh.replace(recipe)


def refuse_existing(out: Path) -> None:
    """Refuse an output that is there, and remove what a pull left beside it that was killed just after its end.

    Raises
    ------
    CatalogError
        It is there.
    UsageError
        It lies in a catalogue.
    """
    if out.exists() or out.is_symlink():
        if out.name in interrupted_pulls(out.parent):
            shutil.rmtree(out.parent / f".{out.name}{SUFFIX}", ignore_errors=True)
        raise CatalogError("exists already", place=out, hint="choose another --out, or remove it first")
    refuse_inside_catalog(out)


def interrupted_pulls(parent: Path) -> Iterator[str]:
    """Names of the copies in a folder whose pull was interrupted and is not going on now."""
    for path in sorted(parent.glob(f".*{SUFFIX}")) if parent.is_dir() else []:
        try:
            with FileLock(path / "lock").acquire(timeout=0):
                pass
        except (Timeout, OSError):
            continue
        yield path.name[1 : -len(SUFFIX)]
