"""Answers that LSDB's own tests keep, for catalogues of an older layout.

Two of the stored files are no oracle: one is the answer without a margin, which misses pairs, one that of a mock.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from xmatch_hats import crossmatch

ANSWERS = {
    "xmatch_correct.csv": ("small_sky", 0.01, 1, 0.0),
    "xmatch_correct_0_005.csv": ("small_sky", 0.005, 1, 0.0),
    "xmatch_correct_002_005.csv": ("small_sky", 0.005, 1, 0.002),
    "xmatch_correct_3n_2t.csv": ("small_sky", 2.0, 3, 0.0),
    "xmatch_correct_3n_2t_negative.csv": ("small_sky_left_xmatch", 2.0, 3, 0.0),
    "xmatch_correct_05_2_3n_margin.csv": ("small_sky", 2.0, 3, 0.5),
}
"""Stored answer: left catalogue, radius, neighbours and minimum radius, in degrees."""


@pytest.fixture(scope="module")
def oracle(shared_data):
    return shared_data / "lsdb_oracle"


@pytest.fixture(scope="module")
def right(oracle):
    import lsdb

    return lsdb.open_catalog(oracle / "small_sky_xmatch", margin_cache=oracle / "small_sky_xmatch_margin")


@pytest.mark.parametrize("lazy", [False, True], ids=["table", "LSDB catalogue"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_stored_answers(oracle, right, answer, lazy):
    import lsdb

    left, radius, k, minimum = ANSWERS[answer]
    expected = pd.read_csv(oracle / "xmatch_expected" / answer)
    catalog = lsdb.open_catalog(oracle / left)
    table = catalog if lazy else catalog.compute(progress_bar=False)
    out = crossmatch(
        table, right, radius * 3600, n_neighbors=k, min_radius=minimum * 3600, how="inner", columns=["id"], name="x"
    )
    out = out.compute(progress_bar=False) if lazy else out
    got = pd.DataFrame({"ss_id": out["id"].to_numpy(), "xmatch_id": out["id_x"].to_numpy()})
    got["dist"] = out["_dist_arcsec"].to_numpy() / 3600
    keys = ["ss_id", "xmatch_id"]
    got, expected = got.sort_values(keys), expected.astype({"xmatch_id": int}).sort_values(keys)
    np.testing.assert_array_equal(got[keys].to_numpy(), expected[keys].to_numpy())
    np.testing.assert_allclose(got["dist"].to_numpy(), expected["dist"].to_numpy(), rtol=0, atol=1e-9)
