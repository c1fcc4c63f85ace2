"""A program of its own: one exposure's positions against a large copy on two small workers, and what it cost.

Run as ``python -m tests.matching.exposure COPY``; the last line is JSON. It is a process of its own so that its peak
memory is the driver's and nobody else's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

RA, DEC, SIZE_DEG = 150.0, 41.81, 6.9
"""An exposure of ZTF's 47 square degrees, across the border of the equatorial belt."""


def bytes_read() -> int:
    """Bytes that this process has read so far by system calls."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def positions(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of an exposure, the same each time."""
    rng = np.random.default_rng(47)
    dec = DEC + SIZE_DEG * (rng.random(n) - 0.5)
    return RA + SIZE_DEG * (rng.random(n) - 0.5) / np.cos(np.radians(dec)), dec


def main(path: str) -> None:
    from distributed import Client, LocalCluster

    from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher

    target = CatalogTarget(path, "big", 5.0, ["cntr", "w1mpro"])
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="1GiB", dashboard_address=None) as cluster,
        Client(cluster) as client,
        Crossmatcher([target], client=client) as matcher,
    ):
        ra, dec = positions(2000)
        # Elsewhere first, so that what the workers import is not counted.
        matcher.match(ra, dec - 11.0)
        before = client.run(bytes_read)
        result = matcher.match(*positions(20_000))["big"]
        after = client.run(bytes_read)
        report = {
            "bytes": [after[worker] - before[worker] for worker in before],
            "worker_peaks": list(client.run(peak_bytes).values()),
            "driver_peak": peak_bytes(),
            "left": result.left.tolist(),
            "cntr": result.rows["cntr"].to_pylist(),
        }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
