from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime

import dask
import numpy as np
import pytest

from tests.step.monitoring.reports import make_report
from xmatch_hats.errors import ConfigError, StoreError
from xmatch_hats.step.monitoring.logs import Mask, batch_line, set_up_logs

SECRET = 'p@ss "wörd\\/+'
SECRETS = [SECRET, "", "p@ss", "token-123"]
own = logging.getLogger("xmatch_hats.step.anything")
other = logging.getLogger("some.library")


@pytest.fixture(autouse=True)
def _restored():
    """Give back the logging of the process that the tests run in."""
    loggers = [
        logging.getLogger(),
        *filter(lambda x: isinstance(x, logging.Logger), logging.root.manager.loggerDict.values()),
    ]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    hooks = sys.excepthook, threading.excepthook
    of_dask = dask.config.get("logging", None)
    yield
    dask.config.set({"logging": of_dask or {}})
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


def set_up(form: str | None, level: str, secrets: Sequence[str] = ()) -> None:
    set_up_logs(form, level, secrets=secrets)
    root = logging.getLogger()
    # The test runner's own handlers raise at the records that this module is about.
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__.startswith("xmatch_hats")]


@pytest.fixture
def lines(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_record_is_an_object_on_a_line(lines):
    set_up("json", "info")
    before = datetime.now(UTC)
    own.info("two words\nand %d lines", 2, extra={"batch": 7, "seconds": {"match": 0.5}})
    (line,) = lines()
    told = datetime.fromisoformat(line.pop("ts"))
    assert abs((told - before).total_seconds()) < 60
    assert told.utcoffset().total_seconds() == 0
    assert line == {
        "level": "INFO",
        "logger": "xmatch_hats.step.anything",
        "msg": "two words\nand 2 lines",
        "batch": 7,
        "seconds": {"match": 0.5},
    }


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_anything_can_be_logged(lines):
    set_up("json", "info")
    own.info("lone \ud800 and \x1b[31m", extra={"nan": float("nan"), "inf": np.float32("-inf"), "n": np.int64(5)})
    own.info("kinds", extra={"b": b"x", "when": datetime(2026, 1, 2), "s": {3}, 4: True, "level": "mine", "none": None})
    own.info("%d arguments", "wrong")
    own.info("unspeakable", extra={"x": Unspeakable()})
    first, second, third, fourth = lines()
    assert (first["nan"], first["inf"], first["n"]) == ("nan", "-inf", 5)
    assert (second["b"], second["when"], second["s"], second["4"]) == ("b'x'", "2026-01-02 00:00:00", [3], True)
    assert (second["level"], second["level_"], second["none"]) == ("INFO", "mine", None)
    assert "%d arguments" in third["msg"]
    assert "wrong" in third["msg"]
    assert fourth["msg"] == "a record that cannot be shown"


def test_levels_are_of_this_package_and_others_only_warn(lines):
    set_up("json", "Debug")
    own.debug("shown")
    for logger in (other, logging.getLogger("xmatch_hatsy"), logging.getLogger("distributed.scheduler")):
        logger.setLevel(logging.DEBUG)
        logger.info("chatter")
        logger.warning("warned")
    assert [line["msg"] for line in lines()] == ["shown", "warned", "warned", "warned"]
    set_up("json", "ERROR")
    own.warning("not shown")
    own.error("an error")
    assert [line["msg"] for line in lines()] == ["an error"]


def test_setting_up_again_takes_the_place_of_the_first(lines, capsys):
    for _ in range(3):
        set_up("json", "info")
    own.info("once")
    assert len(lines()) == 1
    set_up("text", "info", secrets=["once"])
    own.info("once")
    assert re.fullmatch(r"\S+Z INFO    xmatch_hats.step.anything: \*\*\*\n", capsys.readouterr().err)


def test_handlers_that_others_set_up_are_replaced(lines):
    handler = logging.StreamHandler(sys.stderr)
    for name in ("", "xmatch_hats", "distributed"):
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("distributed").propagate = False
    set_up("json", "info")
    own.info("one")
    logging.getLogger("distributed").error("two")
    assert [line["msg"] for line in lines()] == ["one", "two"]


def test_text_keeps_its_line_and_its_colour(capsys):
    set_up("text", "info")
    own.info("a\nb \x1b[31mred\u202e", extra=batch_line(make_report()) | {"name_of": "x\ry"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "a b  [31mred  batch=1 in=10 out=7 dead=2 skipped=1 matched=4 " in line
    assert 'partitions={"ztf[0]":6,"ztf[1]":4}' in line
    assert line.endswith("name_of=x y")


@pytest.mark.parametrize(("terminal", "first"), [(True, "2"), (False, "{")])
def test_a_terminal_gets_text_and_everything_else_json(capsys, monkeypatch, terminal, first):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    set_up(None, "info")
    own.info("hello")
    assert capsys.readouterr().err[0] == first


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_never_shown(capsys, form):
    set_up(form, "info", secrets=SECRETS)
    own.info("plain %s, shown %r, packed %s", SECRET, SECRET, json.dumps({"sasl.password": SECRET}))
    own.info("postgresql://me:p%40ss+%22w%C3%B6rd%5C%2F%2B@db and p%40ss%20%22w%C3%B6rd%5C/%2B")
    own.info("%d", SECRET)
    own.info("fields", extra={"conf": {"password": SECRET, SECRET: [SECRET.encode(), ("token-123",)]}, "p@ss": 1})
    other.warning("a library says token-123")
    warnings.warn(f"beware of {SECRET}", stacklevel=1)
    try:
        try:
            raise OSError(f"cannot log in with {SECRET}")
        except OSError as error:
            raise StoreError(f"refused: {error}", place="postgresql://me:token-123@db") from error
    except StoreError:
        own.exception("while storing %s", "token-123", stack_info=True)
    shown = capsys.readouterr().err
    assert shown.count("***") >= 14
    for trace in ("token-123", "p@ss", "p%40ss", "rd\\\\", "wörd", "w\\u00f6rd", "w\\xc3", "C3%B6"):
        assert trace not in shown
    assert "StoreError" in shown
    assert "OSError" in shown


def test_a_mask_of_nothing_changes_nothing():
    assert Mask().text("anything") == "anything"
    assert Mask([""]).value({"a": ["", 1]}) == {"a": ["", 1]}


def test_a_secret_within_a_secret_leaves_no_rest():
    assert Mask(["abc", "abcdef", "bcd"]).text("abcdef abcd abc") == "*** ***d ***"


def test_wrong_settings_are_named():
    with pytest.raises(ConfigError, match=r"^LOG_FORMAT: .*'xml'.*json or text"):
        set_up("xml", "info")
    with pytest.raises(ConfigError, match=r"^LOG_LEVEL: .*'loud'.*DEBUG, INFO"):
        set_up("json", "loud")


def test_an_error_output_that_is_closed_stops_nothing(monkeypatch, tmp_path):
    stream = (tmp_path / "gone").open("w")
    monkeypatch.setattr(sys, "stderr", stream)
    set_up("json", "info")
    stream.close()
    own.info("nobody reads this")


FAULTS = """
import logging, sys, threading, warnings
from xmatch_hats.cli.messages import set_up_messages
from xmatch_hats.step.monitoring.logs import set_up_logs
sys.warnoptions.append("default")
set_up_messages()
if "before" in sys.argv:
    import distributed
set_up_logs("json", "info", secrets=["hunter2"])
import distributed
logging.getLogger("distributed.scheduler").info("chatter")
logging.getLogger("distributed.scheduler").warning("warned")
warnings.warn("a warning")
thread = threading.Thread(target=lambda: int("hunter2"), name="helper")
thread.start()
thread.join()
raise ValueError("hunter2")
"""


@pytest.mark.parametrize("imported", ["before", "after"])
def test_a_process_says_nothing_but_records_until_its_end(imported):
    done = subprocess.run([sys.executable, "-c", FAULTS, imported], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "hunter2" not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["WARNING", "WARNING", "CRITICAL", "CRITICAL"]
    assert lines[0]["msg"] == "warned"
    assert "a warning" in lines[1]["msg"]
    assert "helper" in lines[2]["msg"]
    assert lines[2]["exc"].endswith("'***'")
    assert lines[3]["exc"].endswith("ValueError: ***")


def test_the_line_of_a_batch(lines):
    set_up("json", "info")
    own.info("batch done", extra=batch_line(make_report(3)))
    (line,) = lines()
    del line["ts"], line["level"], line["logger"]
    assert line == {
        "msg": "batch done",
        "batch": 3,
        "in": 10,
        "out": 7,
        "dead": 2,
        "skipped": 1,
        "matched": 4,
        "unmatched": 2,
        "outside_coverage": 1,
        "rejected": 3,
        "bytes_in": 600,
        "bytes_out": 700,
        "elapsed_seconds": 1.5,
        "seconds": {"decode": 0.25, "match": 0.0625, "encode": 0.25, "store": 0.25, "deliver": 0.25, "commit": 0.25},
        "partitions": {"ztf[0]": 6, "ztf[1]": 4},
        "errors": {"PacketError": 1, "UnknownSchemaError": 1},
        "lag": {"ztf[0]": 12, "ztf[1]": 0},
        "tables": {"object": 4, "xmatch": 4, "no-oid": 1},
        "catalogs": {
            "allwise": {"matched": 3, "unmatched": 3, "outside-coverage": 1, "rejected": 3},
            "gaia": {"matched": 2, "unmatched": 5, "outside-coverage": 0, "rejected": 3},
        },
    }


def test_a_quiet_batch_has_a_short_line():
    line = batch_line(make_report(by_catalog={"allwise": {"matched": 1}}, dead={}, lag={}, tables={}, statuses={}))
    assert not {"errors", "lag", "tables", "catalogs"} & line.keys()
    assert (line["matched"], line["unmatched"], line["outside_coverage"]) == (0, 0, 0)
