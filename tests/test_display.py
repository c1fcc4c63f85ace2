"""What objects say of themselves, and what completion offers of modules."""

from __future__ import annotations

import ast
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import xmatch_hats
from tests.bulk.alerts.nights import alert, packet, write_archive
from tests.copies import make_copy, sky_table
from xmatch_hats.bulk import crossmatch_alerts, crossmatch_catalogs, make_report, open_archives
from xmatch_hats.catalogs.definition import load_definition
from xmatch_hats.catalogs.side_copy import build_side_copy
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.display import as_html, told_bytes
from xmatch_hats.matching.crossmatcher import CatalogTarget, Crossmatcher
from xmatch_hats.step.files import AlertsReport

MODULES = (
    "xmatch_hats", "xmatch_hats.bulk", "xmatch_hats.config", "xmatch_hats.errors",
    "xmatch_hats.catalogs.copy", "xmatch_hats.catalogs.coverage", "xmatch_hats.catalogs.definition",
    "xmatch_hats.catalogs.pull", "xmatch_hats.catalogs.region", "xmatch_hats.catalogs.registry",
    "xmatch_hats.matching.api", "xmatch_hats.matching.crossmatcher", "xmatch_hats.matching.healpix_join",
    "xmatch_hats.matching.result", "xmatch_hats.matching.search", "xmatch_hats.matching.status",
    "xmatch_hats.matching.targets", "xmatch_hats.tables.read", "xmatch_hats.tables.write",
)  # fmt: skip
"""What a notebook imports from."""
LONGEST_REPR = 400


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    table = sky_table(500).append_column("<b>", pa.array(np.zeros(500)))
    return make_copy(table, tmp_path_factory.mktemp("display") / "stars", coverage="all-sky")


def shown(thing: object, *parts: str) -> str:
    """What a notebook shows of a thing; its `repr` is a line with these parts."""
    text = repr(thing)
    assert "\n" not in text
    assert len(text) < LONGEST_REPR
    for part in parts:
        assert part in text
    return thing._repr_html_() if hasattr(thing, "_repr_html_") else ""


def test_a_copy_and_what_belongs_to_it(copy):
    html = shown(copy, "LocalCopy stars", "500 rows", "margin 10 arcsec", str(copy.path))
    assert "all-sky, 100.0000% of the sky" in html
    assert "<td>flux</td>" in html
    assert "<b>" not in html
    foreign = replace(copy, manifest=None)
    assert "not recorded" in foreign._repr_html_()
    shown(copy.coverage, "Coverage all-sky", "100.0000% of the sky")
    shown(copy.manifest, "Manifest stars", "500 rows")
    shown(build_side_copy(copy), "SideCopy", "columns")
    report = verify_copy(copy.path)
    assert "<td>passed</td>" in shown(report, "passed", "checks in")


def test_a_definition():
    html = shown(load_definition("allwise"), "Definition allwise", "columns")
    assert "<td>designation</td>" in html
    assert "more</p>" in html


def test_a_crossmatcher_and_its_answer(copy):
    with Crossmatcher([CatalogTarget(copy, radius_arcsec=2)], n_neighbors=None, workers=0) as matcher:
        assert "<td>resident</td>" in shown(matcher, "stars within 2 arcsec", "all")
        ra, dec = sky_table(500)["ra"].to_numpy(), sky_table(500)["dec"].to_numpy()
        result = matcher.match([*ra[:40], 0.0, np.nan], [*dec[:40], 90.0, 0.0])["stars"]
    shown(matcher, "closed")
    html = shown(result, "42 positions", "40 matched", "1 unmatched", "1 rejected", "40 pairs")
    assert "<p>and 28 more</p>" in html
    assert "median separation" in html
    with Crossmatcher([CatalogTarget(copy)], n_neighbors=3, workers=0) as matcher:
        shown(matcher, "the 3 nearest")
        assert "<td>0</td>" in shown(matcher.match([], [])["stars"], "0 positions")


def test_results_of_bulk_work(copy, tmp_path):
    joined = crossmatch_catalogs(copy, copy, tmp_path / "joined", radius_arcsec=1, workers=0)
    assert "<th>left rows</th><td>500</td>" in joined._repr_html_()
    table = sky_table(500)
    members = [(f"{n}.avro", packet(alert(n, table["ra"][n].as_py(), table["dec"][n].as_py()))) for n in range(5)]
    place = write_archive(tmp_path / "ztf_public_20180619.tar.gz", members)
    target = CatalogTarget(copy, radius_arcsec=1)
    (report,) = crossmatch_alerts(open_archives([str(place)]), [target], tmp_path / "nights")
    assert "<th>matched</th><td>5</td>" in shown(report, "night 20180619", "5 rows")
    made = make_report(tmp_path / "nights", None)
    assert "<td>stars</td><td>5</td>" in shown(made, "5 in", "checks agree")
    shown(AlertsReport(("stars",)), "0 alerts", "0 matched")


def test_whatever_is_shown_is_escaped():
    html = as_html("<a>", {"<k>": "<v>", "none": None, "yes": True, "x": 0.1234567, "n": 1234}, ("<h>",), [["<c>"]])
    assert not any(f"<{name}>" in html for name in "akvhc")
    assert "none" not in html
    for text in ("True", "0.123457", "1,234"):
        assert text in html
    assert "<p>and 88 more</p>" in as_html("t", {}, ("a",), [[1]], total=100)


def test_folders_are_shown_from_where_one_is(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(copy.path.parent)
    assert repr(copy).endswith(f"arcsec, {copy.path.name}>")
    monkeypatch.chdir(tmp_path)
    assert "<td>demo/stars</td>" in as_html("t", {"folder": tmp_path / "demo" / "stars"})
    assert f"<td>{tmp_path.parent}</td>" in as_html("t", {"folder": tmp_path.parent})


@pytest.mark.parametrize("name", MODULES)
def test_completion_offers_what_is_meant_and_no_imports(name):
    module = importlib.import_module(name)
    offered = [name for name in dir(module) if not name.startswith("_")]
    assert offered == sorted(name for name in module.__all__ if not name.startswith("_"))
    for one in offered:
        assert getattr(module, one) is not None
    defined = {
        node.name
        for node in ast.parse(Path(str(module.__file__)).read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    # Of the engine's module the parts that are none of a user's business are left out.
    assert name == "xmatch_hats.matching.crossmatcher" or defined <= set(offered)


def test_the_package_itself():
    names = {"CatalogTarget", "Crossmatcher", "crossmatch", "open_catalog", "open_copy"}
    assert names <= set(dir(xmatch_hats))
    assert all(getattr(xmatch_hats, name) is not None for name in names)


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0 B"), (640, "640 B"), (2_460_000, "2.46 MB"), (999_700, "1 MB"), (4e10, "40 GB"), (5e15, "5e+03 TB")],
)
def test_numbers_of_bytes(size, told):
    assert told_bytes(size) == told
