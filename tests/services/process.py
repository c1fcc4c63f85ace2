"""A server as a process of its own: started, stopped, killed, halted, and never left behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar


class ServiceError(RuntimeError):
    """A server that does not start, with the end of its log."""


class MissingComponentError(ServiceError):
    """What a server is made of is not on this machine."""


class ServerProcess:
    """One process in a folder of its own.

    A guard kills it and removes the folder should this Python die without having stopped it.

    Parameters
    ----------
    name : str
        For messages.
    folder : Path
        Where it runs; its standard output and error are appended to ``server.log``.
    user : str, optional
        Run as this user; needs root.
    """

    def __init__(self, name: str, folder: Path, user: str | None = None) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / "server.log"
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceError(f"{self.name} is not running")
        return self._process.pid

    def start(self, command: Sequence[str]) -> None:
        if self.running:
            raise ServiceError(f"{self.name} is running already")
        self._end_guard()
        # A session of its own: Ctrl-C at a terminal ends the tests, which then stop their servers in order.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_user(self._user),
            )
        # Reads until this process ends, however it ends.
        script = 'read _; kill -9 "$1"; sleep 1; rm -rf -- "$2"'
        self._guard = subprocess.Popen(
            ["sh", "-c", script, "guard", str(self._process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_for(self, answers: Callable[[], bool], timeout_s: float = 60) -> None:
        """Ask until it answers.

        Raises
        ------
        ServiceError
            The process has ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not answers():
            if not self.running:
                raise ServiceError(f"{self.name} ended while it started:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} does not answer after {timeout_s:g} s:\n{self.log_end()}")
            time.sleep(0.05)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> None:
        """Send a signal and wait for the end; what does not heed it in time is killed."""
        if self._process is not None:
            if self.running:
                self.send(number)
                self.send(signal.SIGCONT)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._end_guard()

    def log_end(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _end_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            if self._guard.stdin:
                self._guard.stdin.close()
            self._guard = None


def as_user(user: str | None) -> dict[str, Any]:
    """The arguments of `subprocess` that make a root's child another user's."""
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody uses, below those that the kernel gives to outgoing connections.

    A server gives its port up while it is stopped. A client that keeps trying to reach it must not be given that very
    port as its own, or the server could not come back.
    """
    lowest_ephemeral = 32768
    with contextlib.suppress(OSError, ValueError, IndexError):
        lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(10_000, lowest_ephemeral) if lowest_ephemeral > 11_000 else range(20_000, 60_000)
    # Not the seeded generator, which gives every test session the same ports.
    chosen: list[int] = []
    for port in random.SystemRandom().sample(candidates, len(candidates)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise ServiceError(f"fewer than {count} free ports")


class Server(Protocol):
    """What runs while it is entered."""

    @property
    def running(self) -> bool: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


AnyServer = TypeVar("AnyServer", bound=Server)


def run_in_foreground(make: Callable[[], AnyServer], describe: Callable[[AnyServer], str]) -> int:
    """Run a server until Ctrl-C or SIGTERM, then remove its data.

    Returns
    -------
    int
        What the process exits with.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with make() as server:
            sys.stdout.write(describe(server))
            sys.stdout.flush()
            while server.running:
                time.sleep(0.5)
            raise ServiceError("the server has ended by itself")
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped, and its data are gone\n")
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
