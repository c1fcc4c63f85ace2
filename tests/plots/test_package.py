"""The package as people meet it: what completion shows, what is imported, what is missing."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import xmatch_hats
from xmatch_hats import plots
from xmatch_hats.errors import UsageError


def test_completion_shows_the_functions_alone():
    assert dir(plots) == sorted(plots.__all__)
    assert all(callable(getattr(plots, name)) for name in plots.__all__)
    assert "plots" in dir(xmatch_hats)
    with pytest.raises(AttributeError, match="no attribute 'histogram'"):
        plots.histogram  # noqa: B018


def test_every_function_takes_axes():
    import inspect

    assert all("ax" in inspect.signature(getattr(plots, name)).parameters for name in plots.__all__)


def test_modules_do_not_hide_functions():
    for module in pkgutil.iter_modules(plots.__path__):
        assert module.name not in plots.__all__


def test_it_is_there_without_being_imported_and_costs_nothing():
    code = (
        "import sys, xmatch_hats; xmatch_hats.plots; "
        "sys.exit(', '.join({'matplotlib', 'numpy', 'astropy', 'lsdb'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else find(name, *more)
    )
    monkeypatch.delitem(vars(plots), "separations", raising=False)
    with pytest.raises(UsageError, match=r"pictures need Matplotlib \(pip install 'xmatch-hats\[plots\]'\)"):
        plots.separations  # noqa: B018
    with pytest.raises(UsageError, match="pip install"):
        from xmatch_hats.plots import separations  # noqa: F401


def test_counts_need_no_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; import xmatch_hats.plots.chance, xmatch_hats.plots.tallies"
    subprocess.run([sys.executable, "-c", code], check=True)
