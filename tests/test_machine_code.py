from __future__ import annotations

import os
import runpy

import numba
import numpy as np
import pytest

from xmatch_hats.machine_code import borrowed


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


@pytest.mark.parametrize("is_writeable", [True, False])
def test_borrowed_arrays_are_the_same_ones(is_writeable):
    values = np.arange(10)
    values.setflags(write=is_writeable)
    # Compiled here and now, whatever is cached.
    add_up = numba.njit(lambda array: borrowed(array)[2:].sum())
    assert add_up(values) == add_up.py_func(values) == 44
