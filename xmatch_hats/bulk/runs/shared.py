"""What all tasks of a run need, in a file that each worker process reads once.

Workers import this module: it needs nothing heavy.
"""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from xmatch_hats.whole import written_whole

T = TypeVar("T")


@dataclass(frozen=True)
class Shared(Generic[T]):
    """A value in a file; itself it is small, and goes into the arguments of tasks."""

    path: Path
    digest: str
    """SHA-256 of the file: a process that has read another value from there reads it again."""

    @classmethod
    def write(cls, value: T, path: Path) -> Shared[T]:
        """Write a value that can be pickled; all workers must see the file.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        data = pickle.dumps(value, protocol=5)
        with written_whole(path, path.parent) as file:
            file.write(data)
        return cls(path, hashlib.sha256(data).hexdigest())

    @property
    def value(self) -> T:
        """The value; read once in a process, and kept while few others are asked for."""
        value: T = _read(self.path, self.digest)
        return value


@lru_cache(maxsize=4)
def _read(path: Path, digest: str) -> Any:  # noqa: ARG001, the digest tells values of one path apart
    return pickle.loads(path.read_bytes())
