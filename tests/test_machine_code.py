from __future__ import annotations

import os
import runpy

import pytest


@pytest.mark.parametrize("end", [".nbi", ".nbc"])
@pytest.mark.parametrize("size", [0, 10])
def test_damaged_machine_code_is_compiled_anew(tmp_path, caplog, end, size):
    path = tmp_path / "twice.py"
    path.write_text(
        "from numba import types\nfrom xmatch_hats.machine_code import compiled\n"
        "twice = compiled(types.int64(types.int64))(lambda value: 2 * value)\n"
    )
    assert runpy.run_path(str(path))["twice"](3) == 6
    (kept,) = tmp_path.rglob(f"*{end}")
    os.truncate(kept, size)
    assert runpy.run_path(str(path))["twice"](3) == 6
    assert "until numba's cache is emptied" in caplog.text
