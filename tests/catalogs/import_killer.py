"""Kills imports: run as a module, it imports one source again and again, each time killed somewhere else.

One process pays for the heavy imports; each attempt is a fork of it that kills itself with SIGKILL at its point. After
each kill the same import runs to its end. Prints one JSON list.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

# Some of them only so that no fork pays for them.
import distributed.dashboard.scheduler
import distributed.dashboard.worker  # noqa: F401
import hats_import.catalog.map_reduce as map_reduce
import hats_import.catalog.run_import  # noqa: F401

from tests.catalogs.hashing import data_digest
from xmatch_hats.catalogs import convert, importer, intake, manifest, margins, staging
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.errors import CatalogError, CatalogNotFoundError


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Watcher:
    """Keeps what is said, and dies at the beginning of a stage."""

    bar = False

    def __init__(self, fatal: str | None = None) -> None:
        self.fatal = fatal
        self.said: list[str] = []

    def stage(self, name: str, total: int = 0) -> None:
        if name == self.fatal:
            die()

    def step(self, done: int) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)


def dies_after(module, name: str, calls: int = 1) -> None:
    """Make the process die when a function returns for the so-manieth time."""
    original = getattr(module, name)
    lock, count = threading.Lock(), [0]

    # Under the original's name, so that Dask can send it by name.
    @functools.wraps(original)
    def fatal(*args, **kwargs):
        result = original(*args, **kwargs)
        with lock:
            count[0] += 1
            if count[0] == calls:
                die()
        return result

    setattr(module, name, fatal)


def dies_on_rename() -> None:
    original = Path.rename

    def fatal(self, target):
        original(self, target)
        if self.name == "copy":
            die()

    Path.rename = fatal


POINTS = {
    **{f"stage {name}": (lambda: None, name) for name in importer.STAGES},
    "first source read": (lambda: dies_after(intake, "sha256_file"), None),
    "rows counted": (lambda: dies_after(map_reduce, "map_to_pixels", 2), None),
    "rows split": (lambda: dies_after(map_reduce, "split_pixels", 1), None),
    "some partitions written": (lambda: dies_after(map_reduce, "reduce_pixel_shards", 3), None),
    "margin rows given": (lambda: dies_after(margins, "_read", 5), None),
    "margin done": (lambda: dies_after(convert, "finish_margin"), None),
    "files hashed": (lambda: dies_after(importer, "hash_files"), None),
    "manifest begun": (lambda: dies_after(manifest.Manifest, "model_dump_json"), None),
    "bytes on disk": (lambda: dies_after(staging, "sync_tree"), None),
    "renamed": (dies_on_rename, None),
}
EVERYDAY = ("rows split", "margin rows given", "bytes on disk", "renamed")


def attempt(work) -> tuple[int, dict]:
    """Run in a fork; its wait status and what it returned."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        code = 1
        try:
            with os.fdopen(write, "w") as pipe:
                json.dump(work(), pipe)
            code = 0
        except Exception:  # noqa: BLE001, a fork must never return into its parent's code
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    return os.waitpid(child, 0)[1], json.loads(text) if text else {}


def main(points: str, folder: Path, sources: list[str]) -> None:
    results = []
    for number, point in enumerate(POINTS if points == "all" else EVERYDAY):
        arm, stage = POINTS[point]
        out = folder / f"c{number}"
        settings = {"workers": 0, "partition_rows": 300, "name": "sky"}

        def killed(arm=arm, out=out, stage=stage, settings=settings):
            arm()
            importer.build_copy(sources, out, progress=Watcher(stage), **settings)
            return {"finished": True}

        def resumed(out=out, settings=settings):
            watcher = Watcher()
            importer.build_copy(sources, out, progress=watcher, **settings)
            return {"said": watcher.said}

        status, answer = attempt(killed)
        result = {"point": point, "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, **answer}
        try:
            LocalCopy.open(out)
            result["accepted"] = verify_copy(out).passed
        except CatalogNotFoundError:
            result["accepted"] = None
        status, answer = attempt(resumed) if result["accepted"] is None else (0, {})
        result |= answer | {"resumed": status == 0}
        try:
            importer.build_copy(sources, out, progress=Watcher(), **settings)
        except CatalogError as error:
            result["again"] = str(error)
        result |= {
            "passed": verify_copy(out).passed,
            "digest": data_digest(out),
            "left": sorted(path.name for path in folder.iterdir() if path.name.startswith(".")),
        }
        results.append(result)
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
