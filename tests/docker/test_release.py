"""The release workflow, and the script that builds what it publishes."""

from __future__ import annotations

import importlib.util
import re
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import on_ci
from tests.docker.parts import PROJECT, copy_of_project, image, run, script
from xmatch_hats import __version__

FILE = PROJECT / ".github" / "workflows" / "release.yml"
WORKFLOW = yaml.safe_load(FILE.read_text())
JOBS = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]


def test_it_runs_for_version_tags_only():
    # YAML 1.1 reads the key `on` as true.
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}


def test_every_job_may_do_what_it_must_and_nothing_else():
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "test": {"contents": "read"},
        "build": {"contents": "read"},
        "image": {"contents": "read", "packages": "write"},
        "publish": {"id-token": "write"},
    }
    assert all(job["timeout-minutes"] <= 90 for job in JOBS.values())


def test_nothing_is_published_that_was_not_tested():
    assert set(JOBS["image"]["needs"]) == {"test", "build"}
    assert set(JOBS["publish"]["needs"]) == {"test", "build", "image"}
    assert JOBS["publish"]["environment"] == "release"


def test_actions_are_pinned():
    lines = [line.strip() for line in FILE.read_text().splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for _, step in STEPS)
    assert all(re.fullmatch(r"- uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in lines)


def test_checkouts_keep_no_credentials():
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 3
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_what_is_run_is_there():
    commands = [step["run"] for _, step in STEPS if "run" in step]
    assert ".ci/run" in commands
    scripts = [word for command in commands for word in command.split() if "/" in word and word != "dist/*"]
    for name in (word for word in scripts if (PROJECT / word.split("/")[0]).is_dir()):
        assert (PROJECT / name).stat().st_mode & 0o111, name
    assert {"docker/build.sh", ".ci/run"} <= set(scripts)
    assert not any("${{" in command for command in commands)


def test_the_image_is_built_from_the_dockerfile_with_provenance():
    (build,) = (step["with"] for _, step in STEPS if step.get("uses", "").startswith("docker/build-push-action@"))
    assert (PROJECT / build["file"]).is_file()
    assert (build["context"], build["push"], build["provenance"], build["sbom"]) == (".", True, "mode=max", True)
    arguments = {line.partition("=")[0] for line in build["build-args"].splitlines()}
    assert arguments == {text.partition("=")[0] for text in image().all("ARG")}


def test_the_wheel_is_published_by_trust_and_not_by_a_password():
    (publish,) = (step for _, step in STEPS if "pypi-publish" in step.get("uses", ""))
    assert "with" not in publish
    assert "secrets." not in FILE.read_text()


def test_no_registry_is_named():
    assert not re.findall(r"\b[\w-]+\.(?:io|org|com|dev)\b", FILE.read_text())


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> dict[str, Path]:
    """The wheel and the source distribution of a copy of the project that holds secrets."""
    if importlib.util.find_spec("build") is None:
        pytest.skip("the package `build` is not installed")
    project = copy_of_project(tmp_path_factory.mktemp("project"))
    for name in (".env", "secrets/db_password", "secrets/grafana_password"):
        (project / "docker" / name).write_text("not for others")
    folder = tmp_path_factory.mktemp("dist")
    result = run(project / "docker" / "build.sh", folder, f"v{__version__}", env={"PYTHON": sys.executable})
    if result.returncode and "hatchling" in result.stdout + result.stderr and not on_ci():
        pytest.skip("the build backend cannot be had")
    assert result.returncode == 0, result.stderr
    return {path.name: path for path in folder.iterdir()}


def test_wheel_and_source_are_built(distributions):
    assert set(distributions) == {
        f"xmatch_hats-{__version__}-py3-none-any.whl",
        f"xmatch_hats-{__version__}.tar.gz",
    }


def test_secrets_stay_out_of_the_source_distribution(distributions):
    with tarfile.open(distributions[f"xmatch_hats-{__version__}.tar.gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"docker/.env.example", "docker/secrets/db_password.example", "docker/Dockerfile"} <= names
    assert not names & {"docker/.env", "docker/secrets/db_password", "docker/secrets/grafana_password"}


def test_a_tag_of_another_version_builds_nothing(tmp_path):
    result = run(script("build.sh"), tmp_path / "dist", "v99.0.0", env={"PYTHON": sys.executable})
    assert result.returncode == 1
    assert __version__ in result.stderr
    assert not (tmp_path / "dist").exists()
