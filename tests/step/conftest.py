"""A made sky for the step's tests, and steps between topics of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.shared import made_once
from tests.step.process.sky import Sky, catalogue_rows, make_alerts, write_catalogue
from tests.step.running import World
from xmatch_hats.catalogs.copy import LocalCopy


@pytest.fixture(scope="session")
def wise(tmp_path_factory) -> tuple[LocalCopy, Sequence[dict[str, Any]]]:
    """A copy under ALLWISE's definition, and its rows."""
    folder = made_once(tmp_path_factory, "wise", write_catalogue)
    return LocalCopy.open(folder / "sky"), catalogue_rows().to_pylist()


@pytest.fixture(scope="session")
def sky(wise) -> Sky:
    """Alerts of that sky."""
    return make_alerts(*wise, 240)


@pytest.fixture
def make_world(kafka_address, wise) -> Callable[..., World]:
    """Make topics, and the settings of a step between them."""
    return lambda **variables: World.make(kafka_address, wise[0].path, **variables)
