from __future__ import annotations

import json
import shutil
import socket
import threading
from importlib.metadata import PackageNotFoundError

import pytest

from tests.copies import make_copy, sky_table
from xmatch_hats.catalogs.layout import HEALPIX_COLUMN
from xmatch_hats.catalogs.side_copy import build_side_copy
from xmatch_hats.doctor import Report, State, Symptom, examine, machine, software
from xmatch_hats.doctor.report import Look, look_at
from xmatch_hats.errors import CatalogError

SETTINGS = ("ENGINE", "DB_NAME", "CATALOG", "CONSUMER_SERVER", "PRODUCER_SERVER", "DASK_SCHEDULER")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty root of catalogues, and no settings."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XMATCH_HATS_CATALOGS", str(tmp_path / "root"))
    monkeypatch.setenv("XMATCH_HATS_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    return tmp_path / "root"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    copy = make_copy(sky_table(300), tmp_path_factory.mktemp("doctor") / "stars")
    build_side_copy(copy)
    return copy.path


@pytest.fixture
def stars(root, source):
    (root / "stars").mkdir(parents=True)
    shutil.copytree(source, root / "stars" / "v1")
    (root / "stars" / "current").symlink_to("v1")
    return root / "stars" / "v1"


def lines_of(report: Report, what: str) -> list[Symptom]:
    return [symptom for symptom in report.symptoms if symptom.what == what]


def line_of(report: Report, what: str) -> Symptom:
    (line,) = lines_of(report, what)
    return line


def test_a_fresh_installation_has_no_problem(root):
    report = examine()
    assert report.ok
    assert not report.is_hanging
    line = line_of(report, "catalogues")
    assert line.state is State.WARNING
    assert str(root) in line.detail
    assert "`xmatch-hats catalog import`" in line.todo
    assert line_of(report, "step").state is State.OK
    assert report.versions["lsdb"] in line_of(report, "libraries").detail
    assert json.loads(json.dumps(report.to_json()))["ok"] is True


def test_a_good_copy_is_told(stars):
    report = examine()
    assert report.ok
    line = line_of(report, "catalogue stars")
    assert line.state is State.OK
    for part in ("300 rows", "margin 10 arcsec", "coverage", "verified when it was made", str(stars)):
        assert part in line.detail
    assert "columns" in line_of(report, "catalogue stars, side copy").detail


def test_copies_outside_of_the_root(root, source):
    report = examine([str(source), "nothing"])
    assert line_of(report, f"catalogue {source}").state is State.OK
    line = line_of(report, "catalogue nothing")
    assert line.state is State.PROBLEM
    assert "no catalogue is named nothing" in line.detail
    assert "catalog import" in line.todo


def test_a_lost_partition_is_a_problem(stars):
    lost = next(path for path in stars.rglob("Npix=*.parquet") if "margin" not in str(path))
    lost.unlink()
    line = line_of(examine(), "catalogue stars")
    assert line.state is State.PROBLEM
    assert lost.name in line.detail
    assert "catalog verify" in line.todo


def test_a_damaged_manifest_is_a_problem(stars):
    path = stars / "xmatch_hats.json"
    path.write_text(path.read_text().replace('"rows": 300', '"rows": 301', 1))
    report = examine()
    assert "checksum" in next(line.detail for line in report.symptoms if line.state is State.PROBLEM)
    path.write_text("{")
    assert "is not a manifest" in line_of(examine(), "catalogue stars").detail


def test_a_foreign_copy_is_to_be_verified(stars):
    (stars / "xmatch_hats.json").unlink()
    report = examine()
    assert report.ok
    assert any("catalog verify" in line.todo for line in lines_of(report, "catalogue stars"))


@pytest.mark.parametrize(("file", "told"), [("side_copy/side_copy.json", "cannot be used"), ("side_copy", "none")])
def test_side_copies_that_are_of_no_use(stars, file, told):
    if file == "side_copy":
        shutil.rmtree(stars / file)
    else:
        (stars / file).write_text("{}")
    report = examine()
    assert report.ok
    line = line_of(report, "catalogue stars, side copy")
    assert told in line.detail
    assert "catalog side-copy" in line.todo


def test_a_side_copy_without_the_columns_of_streams(stars):
    from xmatch_hats.catalogs.copy import open_copy

    build_side_copy(open_copy(stars), [])
    line = line_of(examine(), "catalogue stars, side copy")
    assert "flux" in line.detail
    assert HEALPIX_COLUMN not in line.detail


def test_a_name_without_a_current_version(stars):
    (stars.parent / "current").unlink()
    line = line_of(examine(), "stars")
    assert (line.state, line.todo) == (State.PROBLEM, "choose one: `xmatch-hats catalog use stars v1`")


def test_an_interrupted_import_is_told(stars):
    from xmatch_hats.catalogs.staging import SUFFIX

    (stars.parent / f".v2{SUFFIX}").mkdir()
    line = line_of(examine(), "stars")
    assert line.state is State.WARNING
    assert "version v2 was interrupted" in line.detail


def test_a_configuration_file_that_is_wrong(root, tmp_path):
    (tmp_path / "config.toml").write_text("x = ")
    report = examine()
    assert not report.ok
    assert "not a TOML file" in line_of(report, "catalogues").detail


def test_services_that_settings_name(root, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CONSUMER_SERVER", f"127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("CONSUMER_TOPICS", "alerts")
        monkeypatch.setenv("CONSUMER_GROUP_ID", "doctor")
        monkeypatch.setenv("ENGINE", "sqlite")
        monkeypatch.setenv("DB_NAME", str(tmp_path / "step.db"))
        report = examine()
    source, database = line_of(report, "step, source"), line_of(report, "step, database")
    assert (source.state, database.state) == (State.PROBLEM, State.OK)
    assert "does not answer" in source.detail
    assert "CONSUMER_SERVER, CONSUMER_TOPICS" in source.todo
    assert "a run makes the file" in database.detail
    assert not lines_of(report, "step, dask")


def test_catalogues_of_the_settings(root, source, monkeypatch):
    monkeypatch.setenv("CATALOG", json.dumps([{"name": "stars", "path": str(source)}]))
    assert line_of(examine(), "step, catalogues").state is State.OK
    monkeypatch.setenv("CATALOG", json.dumps([{"name": "stars", "path": "/nowhere"}]))
    assert "there is no such folder" in line_of(examine(), "step, catalogues").detail


def test_a_catalogue_that_is_missing_is_not_to_be_started(root, monkeypatch):
    monkeypatch.setenv("CATALOG", '[{"name": "nope"}]')
    line = line_of(examine(), "step, catalogues")
    assert line.state is State.PROBLEM
    assert "no catalogue is named nope" in line.detail
    assert line.todo == "make one with `xmatch-hats catalog import`"


def test_wrong_settings_are_a_problem(root, monkeypatch):
    monkeypatch.setenv("ENGINE", "oracle")
    line = line_of(examine(), "step")
    assert line.state is State.PROBLEM
    assert "ENGINE (environment)" in line.detail


def test_what_hangs_is_left_alone():
    forever = threading.Event()
    symptoms, hangs = look_at(
        [
            Look("dead disk", lambda: forever.wait() and [], "mend it"),
            Look("good", lambda: [Symptom("good", State.OK, "well")]),
        ],
        0.2,
    )
    forever.set()
    assert hangs
    assert symptoms == [
        Symptom("dead disk", State.PROBLEM, "did not answer within 0.2 s", "mend it"),
        Symptom("good", State.OK, "well"),
    ]


@pytest.mark.parametrize(
    ("raised", "told", "todo"),
    [
        (CatalogError("is damaged", place="c", hint="import it again"), "c: is damaged", "import it again"),
        (ImportError("No module named 'lsdb'"), "No module named 'lsdb'", "install xmatch-hats again"),
        (ZeroDivisionError("odd"), "ZeroDivisionError: odd", "look"),
    ],
)
def test_whatever_goes_wrong_is_a_line(raised, told, todo):
    def fail():
        raise raised

    ((symptom,), hangs) = look_at([Look("it", fail, "look")], 5)
    assert symptom.state is State.PROBLEM
    assert told in symptom.detail
    assert symptom.todo == todo
    assert not hangs


def test_libraries_that_are_missing_or_do_not_fit(monkeypatch):
    known = {"lsdb": "0.99.0", "xmatch-hats": "1"}

    def version(name: str) -> str:
        if name not in known:
            raise PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr(software, "version", version)
    monkeypatch.setattr(
        software, "requires", lambda _: ["lsdb>=0.11.1,<0.12", "hats>=0.11", "ruff>=1; extra == 'test'"]
    )
    found = {symptom.what: symptom for symptom in software.look_at_software()}
    assert found["lsdb"].state is State.PROBLEM
    assert "is 0.99.0, and <0.12,>=0.11.1 is asked for" in found["lsdb"].detail
    assert found["hats"].detail == "is not installed"
    assert found["pictures"].state is State.OK
    assert "ruff" not in found


def test_disk_and_memory_that_are_short(root, monkeypatch):
    free = shutil.disk_usage("/")._replace(free=10 << 20)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: free)
    assert {line.state for line in machine.look_at_disk()} == {State.PROBLEM}
    for bytes_, state in ((100 << 20, State.PROBLEM), (700 << 20, State.WARNING), (10 << 40, State.OK)):
        monkeypatch.setattr(machine, "free_memory", lambda bytes_=bytes_: bytes_)
        monkeypatch.setattr("dask.system.CPU_COUNT", 4)
        (line,) = machine.look_at_memory()
        assert line.state is state
        assert bool(line.todo) is (state is not State.OK)


def test_a_container_bounds_the_memory(tmp_path, monkeypatch):
    whole = machine.free_memory()
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine.free_memory() > 1 << 20
    (tmp_path / "memory.max").write_text("5000\n")
    assert machine.free_memory() == 4000
    assert whole is not None
