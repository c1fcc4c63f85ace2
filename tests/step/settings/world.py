"""Settings from an environment and a file of a test's own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from xmatch_hats.errors import ConfigError
from xmatch_hats.step.settings import StepSettings, load_settings

KAFKA = {
    "CONSUMER_TOPICS": "alerts",
    "CONSUMER_SERVER": "broker:9092",
    "CONSUMER_GROUP_ID": "group",
    "PRODUCER_TOPIC": "xmatch",
    "PRODUCER_SERVER": "broker:9092",
}
"""The least that a step of Kafka needs."""


@contextmanager
def environment(values: dict[str, str]):
    """The environment has these variables, and a home folder, alone."""
    with patch.dict(os.environ, {"HOME": os.environ["HOME"]} | values, clear=True):
        yield


def load(config: Path | None = None, overrides: dict | None = None, /, **values: str) -> StepSettings:
    """Load settings from variables given as keywords."""
    with environment(values):
        return load_settings(config, overrides)


def fault_of(config: Path | None = None, overrides: dict | None = None, /, **values: str) -> str:
    """Text of the error that loading settings from these variables raises."""
    with pytest.raises(ConfigError) as caught:
        load(config, overrides, **values)
    assert_clean(caught.value)
    return str(caught.value)


def incompleteness_of(**values: str) -> str:
    """Text of the error that a run with these variables raises."""
    settings = load(**values)
    with pytest.raises(ConfigError) as caught:
        settings.require_complete()
    assert_clean(caught.value)
    return str(caught.value)


def assert_clean(error: ConfigError) -> None:
    """It is a user's mistake, and nothing of pydantic or of the value hangs on it."""
    assert error.exit_code == 2
    assert error.value is None
    assert error.__cause__ is None
    assert error.__context__ is None
    for word in ("pydantic", "validation error", "Value error", "type=", "Input should"):
        assert word not in str(error)
