"""Waiting for what does not work: tried again with a growing pause, said aloud, and never given up in silence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from xmatch_hats.errors import CatalogError, SystemFailure, XmatchError

logger = logging.getLogger(__name__)

T = TypeVar("T")
FAILURES = (SystemFailure, CatalogError, OSError)
"""What may work again later; everything else is a fault of a packet, of a setting, or of this program."""
LONGEST_PAUSE = 10.0
"""Seconds. A dependency that is back is used again within this."""


class AbandonedError(XmatchError):
    """The batch is given up: the run is told to end, or its partitions are somebody else's by now."""


class Stop:
    """How a run is told to end: first asked, then made to."""

    def __init__(self) -> None:
        self.requested = Event()
        """Take no new batch; finish the one that is on its way."""
        self.abandoned = Event()
        """Give that one up, too."""


class Waiter:
    """Calls something until it works.

    Parameters
    ----------
    stop : Stop
    first_pause : float, optional
        Seconds after the first failure; each pause is twice the last one, to at most 10 s.
    patience : int, optional
        Failures before the next one is raised; by default none ever is.
    on_wait : callable, optional
        Told what is waited for, why, and how many times it has failed in a row; with 0, that it works again.
    """

    def __init__(
        self,
        stop: Stop,
        first_pause: float = 1.0,
        patience: int | None = None,
        on_wait: Callable[[str, str, int], None] | None = None,
    ) -> None:
        self._stop = stop
        self._first_pause = first_pause
        self._patience = patience
        self._on_wait = on_wait or (lambda _what, _why, _failures: None)

    def until_done(self, what: str, call: Callable[[], T], *, until_asked: bool = False) -> T:
        """Call something until it does not fail for want of what it depends on.

        Parameters
        ----------
        what : str
            The dependency, for people and health checks: ``database``.
        call : callable
        until_asked : bool, optional
            Whether to give up as soon as the run is asked to end: for what is done while no batch depends on it.

        Raises
        ------
        AbandonedError
            The run is made to end.
        """
        failures, since = 0, 0.0
        end = self._stop.requested if until_asked else self._stop.abandoned
        while True:
            if end.is_set():
                raise AbandonedError(f"given up while waiting for {what}")
            try:
                result = call()
            except FAILURES as error:
                failures += 1
                since = since or time.monotonic()
                if self._patience is not None and failures > self._patience:
                    raise
                self._wait(what, error, failures, end)
                continue
            if failures:
                logger.warning("%s works again after %.1f s", what, time.monotonic() - since)
                self._on_wait(what, "", 0)
            return result

    def _wait(self, what: str, error: Exception, failures: int, end: Event) -> None:
        pause = min(self._first_pause * 2.0 ** (failures - 1), LONGEST_PAUSE)
        logger.warning("waiting for %s: %s; try %d failed, next in %.1f s", what, error, failures, pause)
        self._on_wait(what, str(error), failures)
        end.wait(pause)
