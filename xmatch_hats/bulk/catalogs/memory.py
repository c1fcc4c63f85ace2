"""How much memory a unit of work may take, and what its parts are made of that."""

from __future__ import annotations

import os
from dataclasses import dataclass

from xmatch_hats.errors import UsageError

MIB = 1 << 20

BASE_BYTES = 480 * MIB
"""What a worker takes whatever it works on: Python and its libraries, candidates that are judged (see
`xmatch_hats.matching.pairs.BLOCK_CANDIDATES`), and what the allocator keeps."""
LEAST_BYTES = 640 * MIB
DEFAULT_BYTES = 4 << 30
"""Where nothing is said, or the share of a core of this machine, if that is less. No result depends on it."""

POSITION_BYTES = 80
"""A right row while it is searched: index and coordinates, as they are read and as they are sorted."""


@dataclass(frozen=True)
class Budget:
    """Bounds of the parts of a worker's memory, in bytes.

    A piece of a unit holds its left rows, its right positions, and one slice of pairs with the columns of both sides
    and a row group that is encoded. Tables are copied where rows are taken from them, so each part may be there twice.
    """

    worker_bytes: int

    @classmethod
    def of(cls, memory_per_worker: int | None) -> Budget:
        """Divide the memory of a worker.

        Raises
        ------
        UsageError
            It is too little to work in.
        """
        memory = _default_bytes() if memory_per_worker is None else memory_per_worker
        if memory < LEAST_BYTES:
            raise UsageError(
                f"a worker needs {LEAST_BYTES // MIB} MiB of memory at least, not {memory // MIB} MiB",
                hint="give more to fewer workers",
                value=memory,
            )
        return cls(memory)

    @property
    def free_bytes(self) -> int:
        """What is there for rows."""
        return self.worker_bytes - BASE_BYTES

    @property
    def piece_bytes(self) -> int:
        """Left rows and right positions that are worked on together."""
        return self.free_bytes // 4

    @property
    def slice_bytes(self) -> int:
        """Pairs with the columns of both sides."""
        return self.free_bytes // 12

    @property
    def read_bytes(self) -> int:
        """Rows that are decoded at once."""
        return self.free_bytes // 12


def _default_bytes() -> int:
    # Dask could tell it, too, in the second that it takes to import.
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(LEAST_BYTES, min(DEFAULT_BYTES, machine // (os.cpu_count() or 1)))
