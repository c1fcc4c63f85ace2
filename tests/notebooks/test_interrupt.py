"""A long match is stopped in a notebook: at once, with a KeyboardInterrupt, and the next call works."""

from __future__ import annotations

import pytest

from tests.copies import make_copy, patch_table
from tests.notebooks.kernel import Kernel

# In the smallest chunks a match of two million positions takes far longer than anybody waits.
PREPARE = """
import numpy as np
import pandas as pd
from distributed import Client
import xmatch_hats
from xmatch_hats.matching import crossmatcher

crossmatcher.WATCHED_CHUNK_ROWS = 10
rng = np.random.default_rng(0)
many = pd.DataFrame({"ra": 10 + rng.uniform(-1, 1, 2_000_000), "dec": rng.uniform(-1, 1, 2_000_000)})
few = many[:200]
right = xmatch_hats.open_copy("stars")
expected = xmatch_hats.crossmatch(few, right, 30 * 0.3)["_status"].value_counts().to_dict()
"""
FEW = """
print(xmatch_hats.crossmatch(few, right, 30 * 0.3, {keywords})["_status"].value_counts().to_dict() == expected)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    make_copy(patch_table(20_000, 10.0, 0.0, 1.0), folder / "stars", coverage="all-sky")
    with Kernel(folder) as kernel:
        assert kernel.run(PREPARE).error is None
        yield kernel


@pytest.mark.parametrize(
    ("before", "keywords"),
    [
        ("", "workers=0"),
        ("", "workers=1"),
        ("client = Client(n_workers=1, threads_per_worker=1, dashboard_address=None)", "client=client"),
    ],
    ids=["threads", "workers", "client"],
)
def test_a_match_is_interrupted(kernel, before, keywords):
    assert kernel.run(before).error is None
    # Only what takes seconds draws a bar, so that the match is well under way.
    stopped = kernel.run(f"xmatch_hats.crossmatch(many, right, 9, {keywords})", interrupt_at="matching")
    assert "positions" in stopped.err
    assert stopped.error == "KeyboardInterrupt"
    after = kernel.run(FEW.format(keywords=keywords))
    assert after.error is None
    assert after.out.strip() == "True"
