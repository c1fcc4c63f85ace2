"""Nights whose process is killed from outside, again and again: the same tables as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bulk.alerts.nights import make_sky, read_output, write_archive
from tests.folders import contents
from tests.matching.dask_process import ROOT
from tests.matching.waiting import wait_until
from tests.shared import full_size
from xmatch_hats.bulk.runs.watch import read_log
from xmatch_hats.catalogs.verify import verify_copy
from xmatch_hats.cli.app import run

NAME = "ztf_public_20180619"


def command(place, sky, out, packets, workers, form) -> list[str]:
    words = ["bulk", "alerts", str(place), "--catalog", f"stars={sky.catalog}", "--radius", "1", "--out", str(out)]
    more = ["--packets", str(packets), "--workers", str(workers), "--format", form, "--json"]
    return [*words, *more]


PROGRAM = "import sys; from xmatch_hats.cli.app import run; sys.exit(run(sys.argv[1:]))"


def published(out: Path, packets: Path) -> dict[str, bytes]:
    """Bytes of data: partitions of table and margin, enriched packets, and the accounting."""
    files = {name: data for name, data in contents(out).items() if name.endswith((".parquet", "summary.json"))}
    return files | {f"packets/{name}": data for name, data in contents(packets).items()}


def kill_again_and_again(words, folder: Path, chance: random.Random, kills: int, longest_s: float) -> int:
    """Run a command again and again, and kill it while it works; gives how often it was killed."""
    hit = 0
    for _ in range(kills):
        before = _done_in(folder)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Once it has something to do: kills that hit imports of modules prove little.
        wait_until(lambda p=process, b=before: p.poll() is not None or _is_at_work(folder, b), 120)
        time.sleep(chance.uniform(0.0, longest_s))
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            hit += 1
        else:
            break
    return hit


def _is_at_work(folder: Path, before: int) -> bool:
    return _done_in(folder) > before or (folder / "gathered").exists()


def _done_in(folder: Path) -> int:
    """Slices that are done."""
    return len(list(folder.glob("*/ledger/done/*.json")))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("alerts", "kills", "workers", "form"),
    [(4_000, 1, 0, "parquet"), full_size(100_000, 20, 2, "hats")],
    ids=["threads", "workers"],
)
def test_a_night_that_is_killed_again_and_again(tmp_path, capsys, record_property, alerts, kills, workers, form):
    sky = make_sky(tmp_path / "sky", alerts, rows=20_000 if alerts < 50_000 else 400_000)
    place = write_archive(tmp_path / f"{NAME}.tar.gz", sky.packets(cutout=random.Random(1).randbytes(1_000)))
    calm = command(place, sky, tmp_path / "calm", tmp_path / "calm_packets", workers, form)
    begun = time.monotonic()
    assert run(calm) == 0
    told = json.loads(capsys.readouterr().out)
    seconds = time.monotonic() - begun
    assert told["summary"]["in"] == told["summary"]["rows"] == alerts

    words = command(place, sky, tmp_path / "out", tmp_path / "packets", workers, form)
    output = tmp_path / "out" / "night=20180619" / f"archive={NAME}"
    staged = output.with_name(f".{output.name}.matching")
    hit = kill_again_and_again(words, staged, random.Random(alerts), kills, min(seconds / 20, 3.0))
    record_property("figures", f"{alerts} alerts, {hit} kills, undisturbed {seconds:.1f} s")
    assert hit > 0
    capsys.readouterr()
    assert run(words) == 0
    said = capsys.readouterr().err
    assert "slices were done already" in said or "is done already" in said

    assert published(tmp_path / "out", tmp_path / "packets") == published(tmp_path / "calm", tmp_path / "calm_packets")
    assert form == "parquet" or verify_copy(output).passed
    assert read_output(output)["candid"].to_pylist() == list(range(alerts))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]
    # No slice that a run had finished was done again by a later one.
    done = [event["task"] for event in read_log(output / "_bulk" / "run.log.jsonl") if event["event"] == "done"]
    assert len(set(done)) <= told["summary"]["slices"]
    assert len(done) == len(set(done))
