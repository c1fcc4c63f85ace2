"""What matching archives will cost, from the first slices of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from xmatch_hats.bulk.alerts.archives import Archive
from xmatch_hats.bulk.alerts.columns import check_columns
from xmatch_hats.bulk.alerts.plan import SlicePlan, plan_catalogs
from xmatch_hats.bulk.alerts.run import AlertsSettings, is_done
from xmatch_hats.bulk.alerts.slice_book import Slice, SliceBook
from xmatch_hats.bulk.alerts.slices import read_slices
from xmatch_hats.bulk.alerts.work import match_slice
from xmatch_hats.bulk.runs.estimate import SAMPLE_TASKS, Estimate, estimate_run
from xmatch_hats.bulk.runs.shared import Shared
from xmatch_hats.bulk.runs.task import Task
from xmatch_hats.matching.targets import CatalogTarget

ON_DISK = 3.0
"""Slices, the rows that are gathered of them, and the output are on the disk together for a while."""


def estimate_alerts(
    archives: Sequence[Archive],
    targets: Sequence[CatalogTarget],
    out: Path,
    settings: AlertsSettings,
    *,
    workers: int,
) -> Estimate:
    """Match the first slices of an archive, throw them away, and say what all will cost.

    Archives that are done count nothing; of one that was begun, all does. How many slices there are is reckoned from
    those of the sample.

    Parameters
    ----------
    archives, targets, out, settings
        As of `xmatch_hats.bulk.alerts.run.crossmatch_alerts`.
    workers : int
        How many will work at the same time.

    Raises
    ------
    OutputError
        Nothing can be written beside the output.
    XmatchError
        As matching would.
    """
    catalogs = plan_catalogs(targets)
    left = [archive for archive in archives if not is_done(archive, catalogs, out, settings)]
    if not left:
        return estimate_run([], lambda *_: (), out, workers=workers, skipped=len(archives))
    sample = _read_sample(left[0])
    mean = max(1, sum(piece.compressed for piece, _ in sample) // max(1, len(sample)))
    sizes = [mean for archive in left for _ in range(max(1, round(archive.size / mean)))]
    columns = check_columns(settings.columns)

    def make_sample(folder: Path, numbers: Sequence[int]) -> list[Task]:
        archive = left[0]
        plan = SlicePlan(archive.place, archive.stem, catalogs, columns, settings.packets is not None, folder)
        shared = Shared.write(plan, folder / "plan.pickle")
        return [
            Task(
                piece.name,
                piece.compressed,
                match_slice,
                (shared, piece.name, piece.first_member, piece.members, data),
            )
            for piece, data in sample[: max(len(numbers), 1)]
        ]

    return estimate_run(sizes, make_sample, out, workers=workers, skipped=len(archives) - len(left), on_disk=ON_DISK)


def _read_sample(archive: Archive) -> list[tuple[Slice, bytes]]:
    with TemporaryDirectory() as folder:
        slices = read_slices(archive, SliceBook(Path(folder)), (), lambda _: None)
        return [(piece, data) for piece, data in islice(slices, SAMPLE_TASKS) if data is not None]
