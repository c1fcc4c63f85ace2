"""Calls of functions at workers, without the round trips of a task graph.

A graph of two small tasks takes a cluster some ten milliseconds, of which the tasks are none: the scheduler plans them,
keeps their results, hands them out and forgets them. A call goes to a worker and its answer comes back, two or three
milliseconds later; nothing of it is kept anywhere. It passes through the scheduler, which alone must be reachable.

Workers import this module: it needs nothing heavy.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client, Worker

PICKLE = 5
"""Protocol of answers; NumPy's arrays and Arrow's tables are copied once into it."""


@dataclass(frozen=True)
class Call:
    """A function to call at a worker."""

    function: Callable[..., Any]
    """Of a module that workers can import."""
    arguments: tuple[Any, ...]
    """They travel pickled, and so does the value. Slices of Arrow's take the whole of their buffers with them."""
    home: int = 0
    """Number of the worker which is the first choice, modulo the number of workers."""


@dataclass(frozen=True)
class Answer:
    """What came of a call."""

    value: Any = None
    error: Exception | None = None
    """The function's own."""


async def ask_workers(client: Client, calls: Sequence[Call]) -> tuple[list[Answer | None], int]:
    """Make all calls at once, each at its home; in the loop of the client.

    Returns
    -------
    list of Answer or None
        None where the worker did not answer: it is gone, or cannot import the function. Then the call may be made
        elsewhere; it may have been at work when its worker died.
    int
        Number of workers.

    Raises
    ------
    OSError
        The scheduler cannot be reached.
    """
    # Asked each time, at a third of a millisecond: a worker that is gone would be waited for.
    addresses = sorted(await client.scheduler.ncores())
    if not addresses:
        return [None] * len(calls), 0
    asked = (_ask(client, addresses[call.home % len(addresses)], call) for call in calls)
    return await asyncio.gather(*asked), len(addresses)


async def _ask(client: Client, address: str, call: Call) -> Answer | None:
    # Inside of its loop a client gives back what can be awaited.
    answers = await client.run(serve, call.function, *call.arguments, workers=[address], on_error="return")
    return pickle.loads(answers[address]) if isinstance(answers[address], bytes) else None


async def serve(function: Callable[..., Any], *arguments: Any, dask_worker: Worker) -> bytes:
    """Make a call in the thread in which a worker does its tasks, so that its loop can go on.

    Parameters
    ----------
    function : callable
    *arguments
    dask_worker : Worker
        Given by Dask, by this name.

    Returns
    -------
    bytes
        An `Answer`, pickled.
    """
    _ignore_interrupts()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(dask_worker.executors["default"], _answer, function, arguments)


def _ignore_interrupts() -> None:
    """Leave interrupts to who asked: Ctrl-C and a notebook's stop button reach all processes that were started there.

    They would kill the workers, and the next call would find none. A worker is told by its nanny when to stop.
    """
    if multiprocessing.parent_process() is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps(Answer(function(*arguments)), PICKLE)
    except Exception as error:  # noqa: BLE001, it belongs to whoever called
        return _pickled_error(error)


def _pickled_error(error: Exception) -> bytes:
    try:
        pickled = pickle.dumps(Answer(error=error), PICKLE)
        pickle.loads(pickled)
    except Exception:  # noqa: BLE001, errors are pickled by code of their own
        return pickle.dumps(Answer(error=RuntimeError(f"{type(error).__name__}: {error}")), PICKLE)
    return pickled


# Dask's workers log every such call: a line for each batch, all the same.
logging.getLogger("distributed.worker").addFilter(lambda record: record.args != (serve.__name__,))
