"""A real Dask scheduler with one worker, in a process that can be killed and started again; and tasks for it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class DaskProcess:
    """Scheduler and worker on a port of this machine.

    `tls` are the paths of authority, certificate and key; `without` is a module that it cannot import.
    """

    def __init__(self, port: int, tls: tuple[Path, ...] = (), without: str = "") -> None:
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tests.matching.dask_process", str(port), without, *map(str, tls)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout.readline().strip().decode() == self.address

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def add(*numbers):
    return sum(numbers)


def mark_and_sleep(path: str, seconds: float) -> float:
    """Say that work has begun, and whose it is, and take a while."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)
    return seconds


def fail(error: Exception) -> None:
    raise error


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(port: str, without: str, *tls: str) -> None:
    from distributed import Scheduler, Security, Worker

    if without:
        sys.modules[without] = None
    security = None
    if tls:
        ca, cert, key = tls
        files = {
            f"tls_{role}_{kind}": path
            for role in ("scheduler", "worker")
            for kind, path in (("cert", cert), ("key", key))
        }
        security = Security(require_encryption=True, tls_ca_file=ca, **files)
    common = {"host": "127.0.0.1", "security": security, "protocol": "tls" if tls else "tcp"}
    async with (
        Scheduler(port=int(port), dashboard=False, **common) as scheduler,
        Worker(scheduler.address, nthreads=1, dashboard=False, **common),
    ):
        sys.stdout.write(scheduler.address + "\n")
        sys.stdout.flush()
        await scheduler.finished()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
