"""The Dockerfile, and every script that it runs or ships."""

from __future__ import annotations

import email
import re
import shutil
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import on_ci
from tests.docker.conftest import is_setting
from tests.docker.parts import DOCKER, PROJECT, Stage, dockerfile_stages, image, run, script
from xmatch_hats import __version__

SHELL_SCRIPTS = sorted(DOCKER.glob("*.sh"))
SCRIPTS = [*SHELL_SCRIPTS, *sorted(DOCKER.glob("*.py"))]


def build_stage() -> Stage:
    return dockerfile_stages()[0]


def test_it_runs_as_nobody_in_particular_and_gets_signals_itself():
    stage = image()
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", stage.last("USER"))
    assert stage.exec_form("ENTRYPOINT") == ["xmatch-hats"]
    assert stage.exec_form("CMD") == ["run"]
    assert stage.last("STOPSIGNAL") == "SIGTERM"


def test_both_stages_stand_on_the_same_pinned_python():
    text = (DOCKER / "Dockerfile").read_text()
    assert {stage.base.removesuffix(" AS build") for stage in dockerfile_stages()} == {"python:${PYTHON_TAG}"}
    assert re.search(r"^ARG PYTHON_TAG=3\.11-slim-\w+$", text, re.MULTILINE)


def test_nothing_is_installed_into_the_image_itself():
    assert image().all("RUN") == []
    (step,) = build_stage().all("RUN")
    assert step.split()[-2:] == ["docker/install.sh", "/opt/xmatch-hats/venv"]


def test_everything_that_is_written_to_is_tmp():
    environment = image().environment
    for name in ("HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "DASK_TEMPORARY_DIRECTORY"):
        assert Path(environment[name]).is_relative_to("/tmp")


def test_its_settings_are_settings():
    environment = image().environment
    assert (environment["HTTP_HOST"], environment["HTTP_PORT"]) == ("0.0.0.0", image().last("EXPOSE"))
    assert environment["XMATCH_HATS_CATALOGS"] == "/catalogs"
    assert all(map(is_setting, ("HTTP_HOST", "HTTP_PORT", "STEP_VERSION")))
    assert image().all("ARG") == ["VERSION=dev", "REVISION=unknown"]


def test_what_is_copied_is_there():
    places = image().copied()
    assert places
    assert all((PROJECT / source).is_file() for source in places.values())
    command = image().last("HEALTHCHECK").partition("CMD ")[2]
    assert command == f'["python", "{next(place for place in places if place.endswith("healthcheck.py"))}"]'


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_can_be_run(path):
    first = path.read_text().splitlines()[0]
    assert path.stat().st_mode & 0o111 == 0o111
    assert first == ("#!/bin/sh" if path.suffix == ".sh" else "#!/usr/bin/env python3")


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_sound(path):
    result = run("sh", "-n", path)
    assert result.returncode == 0, result.stderr
    if shutil.which("shellcheck"):
        result = run("shellcheck", path)
        assert result.returncode == 0, result.stdout


def test_the_dockerfile_passes_its_linter():
    if not shutil.which("hadolint"):
        pytest.skip("hadolint is not installed")
    result = run("hadolint", DOCKER / "Dockerfile")
    assert result.returncode == 0, result.stdout


def build_context(target: Path) -> Path:
    """Copy what `.dockerignore` lets the image's build see, and nothing else."""
    lines = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    wanted = [line[1:] for line in lines if line.startswith("!")]
    hidden = [line.removeprefix("**/") for line in lines[1:] if not line.startswith("!")]
    for path in [path for pattern in wanted for path in sorted(PROJECT.glob(pattern))]:
        place = target / path.relative_to(PROJECT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, place, ignore=shutil.ignore_patterns(*hidden))
        else:
            shutil.copy2(path, place)
    return target


def test_the_build_sees_no_secret_and_all_that_is_copied(tmp_path):
    context = build_context(tmp_path)
    assert all((context / source).is_file() for source in image().copied().values())
    assert not (context / "docker" / "secrets").exists()
    assert not list(context.rglob("__pycache__"))
    assert {path.name for path in context.iterdir()} <= {
        *("LICENSE", "README.md", "catalogs", "docker", "pyproject.toml", "xmatch_hats")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, as the image's build makes it from what it sees."""
    context = build_context(tmp_path_factory.mktemp("context"))
    folder = tmp_path_factory.mktemp("wheel")
    result = run(context / "docker" / "install.sh", "--wheel", folder, env={"PYTHON": sys.executable})
    if result.returncode and "hatchling" in result.stderr and not on_ci():
        pytest.skip("the build backend cannot be had")
    assert result.returncode == 0, result.stderr
    (path,) = folder.iterdir()
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "xmatch-hats = xmatch_hats.cli:main" in archive.read(entry_points).decode()
        metadata = email.message_from_bytes(archive.read(entry_points.replace("entry_points.txt", "METADATA")))
    package = {str(path.relative_to(PROJECT)) for path in (PROJECT / "xmatch_hats").rglob("*.py")}
    definitions = {f"xmatch_hats/catalogs/definitions/{path.name}" for path in (PROJECT / "catalogs").glob("*.toml")}
    assert package | definitions == {name for name in names if not fnmatch(name, "*.dist-info/*")} - {
        "xmatch_hats/py.typed"
    }
    assert (metadata["Name"], metadata["Version"]) == ("xmatch-hats", __version__)


def test_the_wheel_works_where_the_project_is_not(wheel, tmp_path):
    target = tmp_path / "target"
    result = run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-index", "--target", target, wheel),
    )
    assert result.returncode == 0, result.stderr
    code = (
        "import xmatch_hats; from xmatch_hats.catalogs.definition import load_definition; "
        "print(xmatch_hats.__file__); print(load_definition('allwise').name)"
    )
    result = run(sys.executable, "-c", code, cwd=tmp_path, env={"PYTHONPATH": str(target)})
    assert result.stdout.splitlines() == [str(target / "xmatch_hats" / "__init__.py"), "allwise"], result.stderr


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--wheel"]])
def test_install_says_what_it_wants(arguments):
    result = run(script("install.sh"), *arguments)
    assert result.returncode == 2
    assert result.stderr


def check_health(*arguments: str, **environment: str):
    return run(sys.executable, script("healthcheck.py"), *arguments, env=environment)


def test_the_health_check_asks_the_step_whether_it_lives(step_server):
    port = str(step_server.http.port)
    # A proxy that is not there must not be asked.
    assert check_health(HTTP_PORT=port, http_proxy="http://127.0.0.1:9").returncode == 0
    step_server.health.beat("loop")
    step_server.seconds += 3600
    result = check_health(HTTP_PORT=port)
    assert (result.returncode, "503" in result.stderr) == (1, True)
    step_server.http.close()
    result = check_health(HTTP_PORT=port)
    assert result.returncode == 1
    assert f"http://127.0.0.1:{port}/live" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_health_check_asks_what_it_is_told_to(step_server):
    url = f"http://127.0.0.1:{step_server.http.port}"
    assert check_health(f"{url}/ready").returncode == 1
    step_server.health.set("sink", True)
    assert check_health(f"{url}/ready").returncode == 0
    assert check_health(f"{url}/lives").returncode == 1
    assert check_health("no address").returncode == 1
