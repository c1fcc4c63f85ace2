"""Waiting for what threads and processes bring about."""

from __future__ import annotations

import threading
import time


def wait_until(condition, seconds=30.0):
    """Wait for something that other threads and processes bring about; None in the end means it never came."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def run_in_thread(function):
    """Start a function; calling what is given back waits for it and gives its answer or its error."""
    outcome = []

    def catch():
        try:
            outcome.append(function())
        except Exception as error:  # noqa: BLE001, whatever it is, the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=catch)
    thread.start()

    def answer():
        thread.join(60)
        return outcome[0] if outcome else "did not end"

    return answer
