"""The files of docker/ as data: the compose file, the Dockerfile, the manifests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
DOCKER = PROJECT / "docker"
COMPOSE_FILE = DOCKER / "docker-compose.yml"
OWN_IMAGE = "xmatch-hats:dev"
BIN = Path(sys.executable).parent
"""Where the console scripts of the package are."""

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+):-(?P<default>[^{}]*)\}")


def interpolate(value: Any, environment: dict[str, str]) -> Any:
    """Fill variables in, of the one form that the file uses: ``${NAME:-default}``."""
    if isinstance(value, dict):
        return {key: interpolate(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment) for item in value]
    if not isinstance(value, str):
        return value
    filled = _VARIABLE.sub(lambda found: environment.get(found["name"]) or found["default"], value)
    assert "$" not in filled, f"a variable of another form: {value}"
    return filled


def compose(**environment: str) -> dict[str, Any]:
    """Read the compose file as Compose does, with these variables set."""
    return interpolate(yaml.safe_load(COMPOSE_FILE.read_text()), environment)


def compose_variables() -> dict[str, str]:
    """Variables that the compose file fills in, and their defaults."""
    found = {match["name"]: match["default"] for match in _VARIABLE.finditer(COMPOSE_FILE.read_text())}
    assert found
    return found


@dataclass
class Stage:
    """One stage of a Dockerfile: its instructions in order, and what the last of each kind says."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [argument for name, argument in self.instructions if name == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]

    def exec_form(self, word: str) -> list[str]:
        """The words of an instruction in exec form; a shell form fails."""
        return json.loads(self.last(word))

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for text in self.all("ENV") for pair in text.split())

    def copied(self) -> dict[str, str]:
        """Files that come from the project, by their path in the image."""
        places = {}
        for text in self.all("COPY"):
            words = text.split()
            if words[0].startswith("--from"):
                continue
            for source in words[:-1]:
                places[words[-1] + Path(source).name] = source
        return places


def dockerfile_stages() -> list[Stage]:
    """The stages of the Dockerfile."""
    text = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    stages: list[Stage] = []
    for line in lines:
        word, argument = line.split(None, 1)
        if word == "FROM":
            stages.append(Stage(argument))
        elif stages:
            stages[-1].instructions.append((word, argument))
    return stages


def image() -> Stage:
    """The stage that becomes the image."""
    return dockerfile_stages()[-1]


def manifests(pattern: str = "**/*.yaml") -> list[dict[str, Any]]:
    """The documents of the Kubernetes manifests."""
    files = sorted((DOCKER / "kubernetes").glob(pattern))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def script(name: str) -> Path:
    """A script of docker/."""
    return DOCKER / name


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment to its end, and give its output."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"} | options.pop("env", {})
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=240, env=environment, **options
    )


def copy_of_project(target: Path) -> Path:
    """Copy what the distributions are built from, without the tests."""
    for name in ("catalogs", "docker", "xmatch_hats"):
        shutil.copytree(PROJECT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy2(PROJECT / name, target)
    return target
