"""Fixtures of the tests of docker/."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from xmatch_hats.step.monitoring.health import Health
from xmatch_hats.step.monitoring.http import HttpServer
from xmatch_hats.step.monitoring.metrics import StepMetrics
from xmatch_hats.step.settings import StepSettings, load_settings


@pytest.fixture
def settings_of(monkeypatch) -> Callable[[Mapping[str, str]], StepSettings]:
    """Give the settings of a step that has these environment variables and no others of its own."""

    def load(environment: Mapping[str, str]) -> StepSettings:
        for name in StepSettings.model_fields:
            for known in (name.upper(), f"{name.upper()}_FILE"):
                monkeypatch.delenv(known, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings = load_settings()
        settings.require_complete()
        return settings

    return load


@dataclass
class StepServer:
    """The real HTTP server of a step that has not begun, with a clock that a test sets."""

    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.health = Health(clock=lambda: self.seconds)
        self.http = HttpServer("127.0.0.1", 0, self.health, StepMetrics(["allwise"]))


@pytest.fixture
def step_server() -> Iterator[StepServer]:
    server = StepServer()
    with server.http:
        yield server


def is_setting(name: str) -> bool:
    """Whether an environment variable is one of the step's settings, or names a file with one."""
    known = {field.upper() for field in StepSettings.model_fields}
    return name in known or name.removesuffix("_FILE") in known
