"""A run in a process of its own, to be killed: ``python -m tests.bulk.runs.killed_run FOLDER TASKS WHERE``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bulk.runs.works import slow_squares
from xmatch_hats.bulk.runs.dispatch import run_tasks
from xmatch_hats.bulk.runs.ledger import Ledger
from xmatch_hats.bulk.runs.watch import Watch
from xmatch_hats.matching.scheduling import Scheduler

if __name__ == "__main__":
    folder, count, where = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with Scheduler(workers=int(where)) if where.isdigit() else Scheduler(address=where) as scheduler:
        run_tasks(slow_squares(count, folder), Ledger(folder / "ledger"), scheduler, watch=Watch(folder / "log"))
