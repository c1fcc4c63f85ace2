"""Real packets, read once."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def real_packets(shared_data) -> dict[str, bytes]:
    """All real packets by path: 499 + 13 files of 588 alerts."""
    folders = (shared_data / "ztf_alerts", shared_data / "alerce_oracle")
    paths = sorted(path for folder in folders for path in folder.rglob("*.avro"))
    assert len(paths) == 512
    return {str(path.relative_to(shared_data)): path.read_bytes() for path in paths}
