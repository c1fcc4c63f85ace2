"""What a running step says of itself to those that watch it: whether it lives, and whether it is ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Literal

Mover = Literal["loop", "worker"]
"""What has to move: the loop that polls, and the worker that computes, stores and delivers a batch."""


class Health:
    """Liveness and readiness; told by the step's threads, asked by the HTTP server's.

    Parameters
    ----------
    loop_seconds : float, default 30
        The loop is stalled when it has not moved for longer.
    worker_seconds : float, default 600
        The same for a worker that has something to do.
    clock : callable, default `time.monotonic`
        Seconds that never go back.
    """

    def __init__(
        self, *, loop_seconds: float = 30.0, worker_seconds: float = 600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits: dict[Mover, float] = {"loop": loop_seconds, "worker": worker_seconds}
        # Nobody is stalled before the first beat: a start may take long, and readiness tells of it.
        self._moved: dict[Mover, float | None] = {"loop": None, "worker": None}
        self._faults: dict[str, str] = {}
        self._clock = clock
        self._lock = Lock()

    def beat(self, who: Mover) -> None:
        """Note that somebody has moved, and has more to do."""
        with self._lock:
            self._moved[who] = self._clock()

    def idle(self, who: Mover) -> None:
        """Note that somebody has nothing to do, and cannot be stalled before the next beat."""
        with self._lock:
            self._moved[who] = None

    def expect(self, component: str) -> None:
        """Be not ready until a component has been set.

        Parameters
        ----------
        component : str
            ``joined``, ``catalogue``, ``dask``, ``database``, ``producer``, ``source`` or ``sink``.
        """
        with self._lock:
            self._faults.setdefault(component, "not yet")

    def set(self, component: str, ok: bool, reason: str = "") -> None:
        """Note that a component works, or why it does not.

        Parameters
        ----------
        component : str
            One that has been expected; any other is from now on.
        ok : bool
        reason : str, optional
            What is wrong; shown to those that ask, so without secrets.
        """
        with self._lock:
            self._faults[component] = "" if ok else reason or "does not work"

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Whether the step moves.

        Returns
        -------
        bool
            False when it should be restarted.
        dict
            ``live``, and for the loop and the worker the seconds since they moved (null: idle) and the most allowed.
        """
        with self._lock:
            now = self._clock()
            since = {who: None if moved is None else now - moved for who, moved in self._moved.items()}
        movers: dict[str, Any] = {
            who: {"seconds": None if seconds is None else round(seconds, 3), "limit": self._limits[who]}
            for who, seconds in since.items()
        }
        live = all(seconds is None or seconds <= self._limits[who] for who, seconds in since.items())
        return live, {"live": live, **movers}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether all that the step depends on works.

        A step that expects nothing has not begun, and is not ready.

        Returns
        -------
        bool
        dict
            ``ready``, what is ``waiting_for`` with the reasons, and what is ``ok``.
        """
        with self._lock:
            faults = dict(self._faults) or {"start": "not yet"}
        waiting = {component: reason for component, reason in faults.items() if reason}
        return not waiting, {
            "ready": not waiting,
            "waiting_for": waiting,
            "ok": [component for component in faults if component not in waiting],
        }
