"""The machine code of hats' own loops, kept on disk between the processes that run tests."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from filelock import FileLock


def keep_machine_code() -> None:
    """Have what hats compiles loaded rather than compiled anew, which takes each process up to twenty seconds.

    hats leaves numba's cache off. It lies beside hats, and is made anew for another version of either.
    """
    from hats.pixel_tree import moc_filter, pixel_alignment
    from numba.core.dispatcher import Dispatcher

    for module in (moc_filter, pixel_alignment):
        for value in vars(module).values():
            # Without a place for it, it is compiled, as ever.
            if isinstance(value, Dispatcher) and not value.stats.cache_path:
                with contextlib.suppress(RuntimeError):
                    value.enable_caching()
                    _save_one_by_one(value._cache)


def _save_one_by_one(cache: Any) -> None:
    """Two processes that save at once could each give its own code the name that the other's list has."""
    save = cache.save_overload

    def save_alone(*arguments: Any) -> None:
        folder = Path(cache.cache_path)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "hats_code.lock"):
            save(*arguments)

    cache.save_overload = save_alone
