"""What the verbs of ``bulk`` share."""

from __future__ import annotations

import json

import pytest

from xmatch_hats.bulk.runs.estimate import Estimate
from xmatch_hats.bulk.runs.watch import Progress
from xmatch_hats.cli import bulk_options
from xmatch_hats.cli.app import run
from xmatch_hats.cli.bulk_options import RunBar, bulk_scheduler, parse_size, tell_dashboard, tell_estimate
from xmatch_hats.errors import OutputError, UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 << 30), ("1.5 GiB", 3 << 29), ("500MB", 500_000_000), ("2k", 2000), ("1000", 1000), ("7B", 7)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


def test_no_size():
    assert parse_size(None) is None
    for text in ("", "GiB", "-1GB", "0", "4 parsecs", "1e9", "nan", "4GiBs"):
        with pytest.raises(UsageError, match=r"--memory-per-worker: .* is no size \(write 4GiB"):
            parse_size(text)


def test_where_to_work():
    with bulk_scheduler(None, 0, None, memory=1 << 30) as scheduler:
        assert scheduler.place == "threads of this process"
    # The workers of others have their own bound; pieces of work are made to measure all the same.
    with bulk_scheduler("tcp://127.0.0.1:1", None, None, memory=1 << 30) as scheduler:
        assert scheduler.place == "tcp://127.0.0.1:1"
    for address, workers in (("tcp://127.0.0.1:1", None), (None, 0)):
        with pytest.raises(UsageError, match="--dashboard: a dashboard is for workers that are started here"):
            bulk_scheduler(address, workers, None, dashboard=True)


def test_no_dashboard_no_word(capsys):
    with bulk_scheduler(None, 0, None) as scheduler:
        tell_dashboard(scheduler, RunBar())
    assert capsys.readouterr() == ("", "")


def test_a_bar_where_somebody_looks(capsys, monkeypatch):
    progress = Progress(tasks=10, size=1000, done=4, size_done=250, failed=1, rate=5e6)
    with RunBar() as bar:
        bar.show("matching", progress)
        bar.say("4 of 10 units were done already")
    assert capsys.readouterr() == ("", "4 of 10 units were done already\n")
    monkeypatch.setattr(bulk_options.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    with RunBar() as bar:
        bar.show("matching", progress)
        bar.say("[told] while it is drawn")
    told = capsys.readouterr().err
    assert "[told] while it is drawn" in told
    assert "4/10 · 1 failed · 5 MB/s · 0:00:00 left" in told


ESTIMATE = Estimate(
    tasks=1234, skipped=10, size=12_300_000_000, seconds=4000.0, workers=2, disk_needed=3_000_000_000,
    disk_free=40_000_000_000, sampled=3,
)  # fmt: skip


def test_what_a_dry_run_says(capsys):
    tell_estimate([("matching", ESTIMATE)], as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "matching: 1,234 units to do, 10 are done already",
        "  to read      12.3 GB",
        "  time         about 1:06:40 with 2 workers, by 3 units that were tried; start and end come on top",
        "  disk needed  3 GB of 40 GB free",
    ]
    tell_estimate([("matching", ESTIMATE)], as_json=True)
    assert json.loads(capsys.readouterr().out)["matching"]["tasks"] == 1234
    large = Estimate(1, 0, 1, 1.0, 1, 5 * 10**13, 10**9, 1)
    with pytest.raises(OutputError, match="the output will not fit: it takes 50 TB, and 1 GB are free"):
        tell_estimate([("matching", large)], as_json=True)


@pytest.mark.parametrize("verb", ["alerts", "catalogs", "merge"])
def test_the_verbs(verb, capsys):
    assert run(["bulk", "--help"]) == 0
    assert f" {verb} " in capsys.readouterr().out
    assert run(["bulk", verb, "--help"]) == 0
    assert f"Example: xmatch-hats bulk {verb} " in capsys.readouterr().out
