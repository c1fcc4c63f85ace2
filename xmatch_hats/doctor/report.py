"""One line of a doctor's report, all of them together, and looking at things that may never answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread
from time import monotonic
from typing import Any

from xmatch_hats.errors import XmatchError


class State(StrEnum):
    """How bad something is."""

    OK = "ok"
    WARNING = "warning"
    """Something will be slower, or not work, that not everybody needs."""
    PROBLEM = "problem"
    """What was asked for, by a setting or a name, does not work."""


@dataclass(frozen=True)
class Symptom:
    """One thing that was looked at."""

    what: str
    state: State
    detail: str
    todo: str = ""
    """What to do next, in one sentence without a final stop; empty where there is nothing to do."""

    def to_json(self) -> dict[str, str]:
        """As one JSON object."""
        return {"what": self.what, "state": str(self.state), "detail": self.detail, "todo": self.todo}


@dataclass(frozen=True)
class Report:
    """All that was looked at."""

    symptoms: tuple[Symptom, ...]
    versions: dict[str, str | None]
    """Of this package, Python and what it stands on; None for what is not installed."""
    is_hanging: bool = False
    """Whether something has not answered in time, and a thread of this process still waits for it."""

    @property
    def ok(self) -> bool:
        """Whether there is no problem; there may be warnings."""
        return not self.count(State.PROBLEM)

    def count(self, state: State) -> int:
        """Count the lines of a state."""
        return sum(symptom.state is state for symptom in self.symptoms)

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "ok": self.ok,
            "problems": self.count(State.PROBLEM),
            "warnings": self.count(State.WARNING),
            "versions": self.versions,
            "checks": [symptom.to_json() for symptom in self.symptoms],
        }


@dataclass(frozen=True)
class Look:
    """Something to look at, in a thread of its own."""

    what: str
    call: Callable[[], Sequence[Symptom]]
    todo: str = ""
    """What to do if it does not answer."""


def look_at(looks: Sequence[Look], seconds: float) -> tuple[list[Symptom], bool]:
    """Look at several things at once, and wait for them no longer than this.

    Parameters
    ----------
    looks : sequence of Look
    seconds : float
        For all of them together.

    Returns
    -------
    list of Symptom
        In the order of `looks`. What goes wrong is a problem of the list; nothing is raised.
    bool
        Whether something did not answer in time.
    """
    found: dict[int, list[Symptom]] = {}

    def run(number: int, look: Look) -> None:
        found[number] = _look(look)

    # Daemons: what hangs in a dead network disk must not hold the end of the process up.
    threads = [Thread(target=run, args=pair, name=f"doctor-{pair[1].what}", daemon=True) for pair in enumerate(looks)]
    for thread in threads:
        thread.start()
    deadline = monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
    symptoms: list[Symptom] = []
    for number, look in enumerate(looks):
        silent = Symptom(look.what, State.PROBLEM, f"did not answer within {seconds:g} s", look.todo)
        symptoms += found.get(number, [silent])
    return symptoms, len(found) < len(looks)


def _look(look: Look) -> list[Symptom]:
    try:
        return list(look.call())
    except XmatchError as error:
        where = f"{error.place}: " if error.place else ""
        return [Symptom(look.what, State.PROBLEM, f"{where}{error.message}", error.hint or look.todo)]
    except ImportError as error:
        return [Symptom(look.what, State.PROBLEM, f"cannot be looked at: {error}", "install xmatch-hats again")]
    except Exception as error:  # noqa: BLE001, whoever asks what is wrong must be answered, whatever is wrong
        return [Symptom(look.what, State.PROBLEM, f"{type(error).__name__}: {error}", look.todo)]
