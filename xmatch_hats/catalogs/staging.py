"""A hidden folder beside the output, in which a copy is built, and the one rename that publishes it.

Whatever kills the process, the final name holds either nothing or a whole, verified copy. The folder
``.NAME.importing`` keeps the recipe of the work (inputs, settings, versions); the same recipe takes the work up where
it stopped, any other one starts clean.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from xmatch_hats.catalogs.layout import refuse_inside_catalog
from xmatch_hats.errors import CatalogError

log = logging.getLogger(__name__)

SUFFIX = ".importing"
RECIPE = "recipe.json"
REPLACED = "replaced"
"""What the output takes the place of, for the moment between two renames."""
PUBLISHED = "published"
"""Tells which folder was published from here."""


class Staging:
    """The staging folder of one output; a context manager that holds its lock.

    Leaving it on success (after `publish`) removes the folder; leaving it on an error keeps the work for a resume.

    Parameters
    ----------
    out : Path
        Final folder of the copy; must not exist.
    recipe : dict
        What determines the work, JSON values only.
    say : callable
        Told, in one sentence, whether the work resumes or starts clean.
    work : str, optional
        What is done, one word for people and for the name of the folder.
    replaces : bool, optional
        Whether `out` may exist: what is published then takes its place.
    """

    def __init__(
        self,
        out: Path,
        recipe: dict[str, Any],
        say: Callable[[str], None],
        work: str = "import",
        *,
        replaces: bool = False,
    ) -> None:
        self.out = out
        self.folder = out.parent / f".{out.name}.{work.removesuffix('e')}ing"
        self._work = work
        self._replaces = replaces
        self.resumed = False
        self._recipe = recipe
        self._say = say
        self._lock = FileLock(self.folder / "lock")
        self._published = False

    def __enter__(self) -> Staging:
        refuse_inside_catalog(self.out)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CatalogError(f"cannot be written to: {error.strerror}", place=self.out.parent) from error
        self._acquire()
        try:
            self._refuse_existing()
        except CatalogError:
            if self._is_litter():
                shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.release()
            raise
        try:
            self._begin()
        except OSError as error:
            self._lock.release()
            raise CatalogError(f"cannot be written to: {error.strerror}", place=self.folder) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._published:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def path(self, *parts: str) -> Path:
        """A path inside the folder."""
        return self.folder.joinpath(*parts)

    def own(self, *parts: str) -> Path:
        """A path that work of another recipe never had: workers that a killed run has left behind may still write."""
        return recipe_folder(self.folder, self._recipe).joinpath(*parts)

    def clear(self) -> None:
        """Forget all work done so far, and begin anew."""
        for path in self.folder.iterdir():
            if path.name == "lock":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.resumed = False
        # The recipe is the last word of the beginning: without it whatever lies here is not trusted.
        temporary = self.path(f"{RECIPE}.new")
        temporary.write_text(json.dumps(self._recipe, sort_keys=True), encoding="utf-8")
        temporary.replace(self.path(RECIPE))

    def publish(self, built: Path) -> None:
        """Move a finished copy to its final name, by one rename, after its bytes are on disk.

        Raises
        ------
        CatalogError
            Something has appeared under the final name meanwhile.
        """
        sync_tree(built)
        self._refuse_existing()
        try:
            self.path(PUBLISHED).write_text(str(built.stat().st_ino), encoding="utf-8")
            if self._replaces and self.out.exists():
                # Killed between the two renames, there is none until the work is taken up, and is done at once.
                shutil.rmtree(self.path(REPLACED), ignore_errors=True)
                self.out.rename(self.path(REPLACED))
            built.rename(self.out)
        except OSError as error:
            raise CatalogError(f"cannot be published: {error.strerror}", place=self.out) from error
        _sync(self.out.parent)
        self._published = True

    def _is_litter(self) -> bool:
        """Whether nobody needs the folder: nothing was begun in it, or killed after publishing it was left behind.

        Anything else under the final name is not from here, and the work of hours may be waiting for its going.
        """
        if not self.path(RECIPE).exists():
            return True
        try:
            return self.path(PUBLISHED).read_text(encoding="utf-8") == str(self.out.stat().st_ino)
        except OSError:
            return False

    def _refuse_existing(self) -> None:
        if not self._replaces:
            refuse_existing(self.out)

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise CatalogError(
                f"is being written by another {self._work}",
                place=self.out,
                hint="wait for it, or choose another --out",
            ) from None
        # Whoever published just now has removed the folder, and with it the file that this lock is on.
        if not self.path("lock").exists():
            self._lock.release()
            raise CatalogError(f"was written by another {self._work} just now", place=self.out)

    def _begin(self) -> None:
        try:
            earlier = json.loads(self.path(RECIPE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            earlier = None
        except (OSError, ValueError):
            earlier = {}
        if earlier == json.loads(json.dumps(self._recipe)):
            self.resumed = True
            self._say(f"resuming the {self._work} that was interrupted")
            return
        if earlier is not None:
            self._say(f"an interrupted {self._work} is here, but of other inputs or settings: starting clean")
        self.clear()


def staging_folder(out: Path) -> Path:
    """The hidden sibling in which the copy `out` is built."""
    return out.parent / f".{out.name}{SUFFIX}"


def leftover_names(parent: Path) -> Iterator[str]:
    """Names of the copies in a folder whose building was interrupted and is not going on now."""
    if not parent.is_dir():
        return
    for path in sorted(parent.glob(f".*{SUFFIX}")):
        lock = FileLock(path / "lock")
        try:
            with lock.acquire(timeout=0):
                pass
        except (Timeout, OSError):
            continue
        name = path.name[1 : -len(SUFFIX)]
        if not (parent / name).exists():
            yield name


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recipe_folder(folder: Path, recipe: dict[str, Any]) -> Path:
    """Folder, within a staging folder, of the work that workers do after a recipe."""
    text = json.dumps(recipe, sort_keys=True)
    return folder / hashlib.sha256(text.encode()).hexdigest()[:16]


def refuse_existing(out: Path) -> None:
    """Refuse to write where something is, or within a catalogue.

    Raises
    ------
    CatalogError
        Something is there.
    UsageError
        It lies in a catalogue.
    """
    if out.exists() or out.is_symlink():
        raise CatalogError("exists already", place=out, hint="choose another --out, or remove it first")
    refuse_inside_catalog(out)
