"""A logger that is kept off the screen."""

from __future__ import annotations

import logging

import pytest

from xmatch_hats.quiet import quiet


def speak(logger: logging.Logger) -> None:
    logger.warning("odd")
    logger.error("wrong")
    raise KeyError


def test_what_is_below_the_level_is_kept_back_for_a_while(caplog):
    logger = logging.getLogger("somebody.else")
    logger.setLevel(logging.INFO)
    with pytest.raises(KeyError), quiet("somebody.else", logging.ERROR):
        speak(logger)
    logger.info("again")
    assert caplog.messages == ["wrong", "again"]
    assert logger.level == logging.INFO
