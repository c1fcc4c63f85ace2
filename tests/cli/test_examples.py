"""Every help has an example; each is parsed, and run where that is cheap."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pyarrow.csv
import pytest
from mocpy import MOC

from tests.alerts.makers import pack, small_alert
from tests.bulk.alerts.nights import alert, packet, write_archive
from tests.cli.tree import Node, walk
from tests.images.ldac import write_ldac
from tests.images.skies import header, write_tile
from xmatch_hats.cli.app import run
from xmatch_hats.step.settings import settings_reference

NODES = walk()
VERBS = [node for node in NODES if not node.is_group]
BY_NAME = {node.name: node for node in NODES}
WITH_JSON = {
    "alerts", "match", "cone", "box", "star-cat", "match-fits", "fits-stats", "doctor", "run",
    "catalog import", "catalog pull", "catalog verify", "catalog info", "catalog list", "catalog side-copy",
    "bulk alerts", "bulk merge", "bulk catalogs", "bulk report",
    "db init", "db check", "dead-letters list", "dead-letters replay",
}  # fmt: skip
"""All but `demo`, which is for eyes, and `catalog use`, whose exit code tells all."""


def example_of(node: Node) -> list[str]:
    (line,) = re.findall(r"^ *Example: (xmatch-hats.*)$", node.command.help, re.MULTILINE)
    return shlex.split(line)


def verb_of(words: list[str]) -> Node:
    return next(BY_NAME[" ".join(words[:n])] for n in (3, 2) if " ".join(words[:n]) in BY_NAME)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_every_help_has_an_example_that_parses(node):
    words = example_of(node)
    assert words[: len(node.path)] == list(node.path)
    verb = verb_of(words)
    rest = words[len(verb.path) :]
    used = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert used <= verb.options
    # Types and counts are looked at, too, and nothing is done.
    verb.command.make_context(verb.name, rest)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_help_is_shown_in_a_pipe_without_colours(node, capsys):
    assert run([*node.path[1:], "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example: xmatch-hats" in shown
    assert "\x1b" not in shown


def test_json_is_there_where_a_script_wants_it():
    assert {" ".join(node.path[1:]) for node in VERBS if "--json" in node.options} == WITH_JSON
    assert {" ".join(node.path[1:]) for node in VERBS} - WITH_JSON == {"demo", "catalog use"}


@pytest.fixture
def world(made, plain_copy, tmp_path, monkeypatch):
    """A folder in which the examples can be typed one after the other."""
    for name, *_ in settings_reference():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("xmatch_hats.step.monitoring.logs.set_up_logs", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    versions = tmp_path / "root" / "allwise"
    shutil.copytree(made.copy, versions / "20261121T021500Z")
    (versions / "current").symlink_to("20261121T021500Z")
    (tmp_path / "field.tbl").write_text(ipac(made))
    MOC.from_string("0/0-11").save("field_moc.fits", format="fits")
    shutil.copytree(plain_copy, "ztf")
    pyarrow.csv.write_csv(made.sky.select(["designation", "ra", "dec"]).slice(0, 50), "t.csv")
    write_tile(tmp_path / "image-51.fits", header(0.02, -0.03, crpix=(250.0, 200.0)), (500, 400))
    write_ldac(tmp_path / "cat-51.fits", {"X_WORLD": made.ra[:50], "Y_WORLD": made.dec[:50], "MAG_AUTO": made.ra[:50]})
    (tmp_path / "packets").mkdir()
    positions = list(zip(made.ra[:20].tolist(), made.dec[:20].tolist(), strict=True))
    for number, (ra, dec) in enumerate(positions):
        (tmp_path / "packets" / f"{number}.avro").write_bytes(pack([small_alert(number, ra, dec)]))
    members = [(f"{n}.avro", packet(alert(n, ra, dec))) for n, (ra, dec) in enumerate(positions)]
    write_archive(tmp_path / "ztf_public_20180619.tar.gz", members)
    (tmp_path / "step.toml").write_text('ENGINE = "sqlite"\nDB_NAME = "step.db"\n')
    return tmp_path


def ipac(made) -> str:
    names = ("designation", "ra", "dec")
    table = made.sky.select(list(names)).slice(0, 50)
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    head = "".join(f"|{name:>24}" for name in names) + "|\n"
    head += "".join(f"|{kind:>24}" for kind in ("char", "double", "double")) + "|\n"
    return head + "".join(f" {name:>24} {ra:>24.12f} {dec:>24.12f} \n" for name, ra, dec in rows)


RUN = (
    "catalog import", "catalog verify", "catalog info", "catalog list", "catalog use", "catalog side-copy",
    "cone", "box", "star-cat", "match-fits", "fits-stats", "match", "alerts", "run", "bulk catalogs", "bulk alerts",
    "bulk merge", "bulk report", "db init", "db check", "doctor",
)  # fmt: skip
"""In an order in which each finds what it needs. Left out are `demo` (a test of its own), and what needs a network or
a broker."""


def test_the_examples_work(world, capsys):
    for name in RUN:
        words = example_of(BY_NAME[f"xmatch-hats {name}"])
        if "./matched" in words:
            shutil.rmtree("matched", ignore_errors=True)
        assert run(words[1:]) == 0, (words, capsys.readouterr())
        if name == "catalog import":
            # A folder wins over a registered name, and those that follow want more columns.
            shutil.rmtree("allwise")
            (world / "allwise").symlink_to(world / "root" / "allwise" / "current")
    capsys.readouterr()
    files = (
        "m.fits",
        "o.fits",
        "star_cats/star_cat-51.cat",
        "matched_cats/cat_matched-51.fits",
        "nights_report/report.html",
        "step.db",
    )
    for made in ("allwise", "matched", "nights/merged", *files):
        assert (world / made).exists(), made


def test_objects_of_verbs_that_make_something(world, capsys):
    def told(*words: str) -> dict:
        assert run([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    made = told("catalog", "import", "t.csv", "--as", "stars@v1", "--coverage", "all-sky")
    assert (made["rows"], made["current"], made["coverage"]["kind"]) == (50, True, "all-sky")
    assert told("catalog", "pull", str(world / "ztf"), "--out", "pulled")["rows"] == 5000
    side = told("catalog", "side-copy", "stars", "--columns", "ra")["side_copy"]
    assert "ra" in side["columns"]
    assert told("catalog", "side-copy", "stars", "--remove")["side_copy"] is None
    assert told("db", "init", "--config", "step.toml")["created"] == ["object", "allwise", "xmatch", "step"]
    assert told("db", "check", "--config", "step.toml")["ok"] is True


def test_rows_as_one_object(made, capsys):
    assert run(["cone", "0.01", "-0.02", "120", "--catalog", str(made.copy), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["covered"] is True
    assert told["rows"]
    assert set(told["rows"][0]) >= {"designation", "cntr", "ra", "dec", "_dist_arcsec"}
    assert run(["box", "0", "0.1", "0.4", "0.6", "--catalog", str(made.copy), "--json", "--columns", "cntr"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["covered"], list(told["rows"][0])) == (False, ["cntr"])
    assert run(["cone", "0", "0", "1", "--catalog", str(made.copy), "--json", "--out", "o.csv"]) == 2
    assert "either --json or --out" in capsys.readouterr().err


def test_what_is_no_number_is_null(capsys):
    from xmatch_hats.cli.console import show_json

    show_json({"a": [float("nan"), float("-inf"), 1.5], "b": None})
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, 1.5], "b": None}
