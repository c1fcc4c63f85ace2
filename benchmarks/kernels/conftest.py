"""What several kernels work on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.skies import DENSITY_DEG2, even_positions, place
from tests.copies import make_copy
from xmatch_hats.catalogs.copy import LocalCopy
from xmatch_hats.demo.sky import SkyBox

BOX = SkyBox(357.0, 3.0, -3.0, 3.0)
"""36 square degrees across RA 0."""


@pytest.fixture(scope="session")
def sky() -> tuple[np.ndarray, np.ndarray]:
    """Positions at ALLWISE's mean density: 650,000."""
    return even_positions(np.random.default_rng(1), BOX, int(DENSITY_DEG2 * BOX.area_deg2))


@pytest.fixture(scope="session")
def alerts(sky):
    """Make so many positions, over half of them on sources."""
    return lambda count, seed=0: place(np.random.default_rng([2, seed]), sky, BOX, count)


@pytest.fixture(scope="session")
def copy(sky, tmp_path_factory) -> LocalCopy:
    """A small copy: 100,000 of the positions in some ten partitions."""
    ra, dec = (values[:100_000] for values in sky)
    number = np.arange(len(ra))
    table = pa.table(
        {"ra": ra, "dec": dec, "source_id": number, "mag": number % 1000 / 100.0, "name": number.astype(str)}
    )
    return make_copy(table, tmp_path_factory.mktemp("kernels") / "copy", partition_rows=20_000)


def pytest_terminal_summary(terminalreporter, config):
    """Tell what was counted; the tables have times alone."""
    session = getattr(config, "_benchmarksession", None)
    counted = [bench for bench in session.benchmarks if bench.extra_info] if session else []
    if counted:
        terminalreporter.section("counts")
    for bench in counted:
        terminalreporter.line(f"{bench.name}: " + ", ".join(f"{what} {n}" for what, n in bench.extra_info.items()))
