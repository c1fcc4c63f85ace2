"""Python of the documentation compiles, what it imports is there, and what can be run here runs."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re

import numpy as np
import pandas as pd
import pytest

from tests.copies import make_copy
from tests.docs.conftest import CORNERS
from tests.docs.pages import DOCS, PAGES, Page
from tests.notebooks.books import NAMES, ROOT, code_cells
from xmatch_hats.catalogs.region import Box
from xmatch_hats.demo.sky import SkyBox, make_sky

ELSEWHERE = {"astroquery", "dask_jobqueue"}
"""Packages that pages speak of, and nothing here needs."""


def missing(node: ast.Import | ast.ImportFrom) -> list[str]:
    """What an import asks for that is not there."""
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    wrong = []
    for module in modules:
        if module.partition(".")[0] in ELSEWHERE:
            continue
        if importlib.util.find_spec(module) is None:
            wrong.append(module)
        elif isinstance(node, ast.ImportFrom):
            there = importlib.import_module(module)
            wrong += [f"{module}.{alias.name}" for alias in node.names if not hasattr(there, alias.name)]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_blocks_compile_and_import_what_is_there(page):
    for block in page.blocks("python"):
        nodes = ast.walk(ast.parse(block))
        assert [missing(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) if missing(node)] == []


def public_modules() -> list[str]:
    """Modules that the reference names, and that its pages and the notebooks import."""
    names = set(re.findall(r"^::: (\S+)$", (DOCS / "reference" / "python.md").read_text(), re.MULTILINE))
    blocks = [block for page in PAGES for block in page.blocks("python")]
    blocks += [cell.source for name in NAMES for cell in code_cells(name)]
    for node in (node for block in blocks for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    ours = {module_of(name) for name in names if name.partition(".")[0] == "xmatch_hats"}
    return sorted(ours | {"xmatch_hats.doctor"})


def module_of(name: str) -> str:
    """Module that a name is, or else is of."""
    place = ROOT.joinpath(*name.split("."))
    return name if place.is_dir() or place.with_suffix(".py").is_file() else name.rpartition(".")[0]


@pytest.mark.parametrize("name", public_modules())
def test_completion_shows_what_a_module_is_for(name):
    module = importlib.import_module(name)
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, one) for one in module.__all__)


def test_what_is_missing_is_noticed():
    (node,) = ast.parse("from xmatch_hats import crossmatches").body
    assert missing(node) == ["xmatch_hats.crossmatches"]


def test_the_page_on_python_runs(allwise, capsys):
    names: dict[str, object] = {}
    for block in Page(DOCS / "how-to" / "python.md").blocks("python"):
        exec(compile(block, "python.md", "exec"), names)
    told = capsys.readouterr().out
    assert "a radius of 1000 arcsec cannot be searched: the catalogue has a margin of 10 arcsec" in told
    assert len(names["three"]) <= 6
    assert names["joined"].matched == 3000
    assert list(names["limits"].to_pylist()).count(None) == 0


def test_the_page_on_a_first_field_runs(tmp_path, monkeypatch):
    """Every row has a source on it but one, which lies amid two."""
    sky = make_sky(3000, seed=1, box=SkyBox(*CORNERS))
    root = tmp_path / "root"
    make_copy(sky, root / "field" / "v1", coverage=Box(*CORNERS).coverage(), margin_arcsec=30.0)
    (root / "field" / "current").symlink_to("v1")
    ra, dec = sky["ra"].to_numpy()[:500], sky["dec"].to_numpy()[:500]
    beside = np.array([1.3, -1.3]) / 3600
    sources = {"RAJ2000": np.append(ra[1:], [ra[0], ra[0]]), "DEJ2000": np.append(dec[1:], dec[0] + beside)}
    pd.DataFrame(sources).to_csv(tmp_path / "sources.csv", index=False)
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(root))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in Page(DOCS / "first-field.md").blocks("python"):
        exec(compile(block, "first-field.md", "exec"), names)
    assert (names["claims"].index[0], names["claims"].iloc[0]) == (sky["designation"][0].as_py(), 2)
    assert 2.1 < names["field"].sky_fraction * 41_253 < 2.19
    assert {"separations.png", "confusion.png", "several.png", "field_moc.fits"} <= {
        path.name for path in tmp_path.iterdir()
    }
