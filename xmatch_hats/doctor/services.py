"""Brokers, database, schema registry and Dask, where settings of the step name them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xmatch_hats.doctor.report import Look, State, Symptom

if TYPE_CHECKING:
    from xmatch_hats.step.check import Trial


def _next(trial: Trial) -> str:
    return f"see that it is running, and {', '.join(trial.settings)}; `xmatch-hats run --check` tells all settings"


def looks_at_services(config: Path | None) -> list[Look]:
    """One look for each service that the environment or a file of settings names.

    Parameters
    ----------
    config : Path or None
        Settings of the step in TOML.

    Raises
    ------
    ConfigError
        The settings are wrong.
    """
    from xmatch_hats.step.check import catalogs_trial, service_trials
    from xmatch_hats.step.settings import load_settings

    settings = load_settings(config)
    looks = [_look(trial) for trial in service_trials(settings)]
    if settings.origin("catalog").source != "default":
        looks.insert(0, _look_at_catalogs(catalogs_trial(settings)))
    if not looks:
        detail = "no setting names a broker, database, schema registry or Dask scheduler"
        none = Symptom("step", State.OK, detail, "see `xmatch-hats run -h` for a stream")
        return [Look("step", lambda: [none])]
    return looks


def _look_at_catalogs(trial: Trial) -> Look:
    what = f"step, {trial.what}"
    todo = f"see {', '.join(trial.settings)}; `xmatch-hats catalog list` tells what there is"
    # A catalogue is nothing that runs. What is wrong with it is raised, since its error knows the way out.
    return Look(what, lambda: [Symptom(what, State.OK, trial.call())], todo)


def _look(trial: Trial) -> Look:
    what = f"step, {trial.what}"

    def call() -> list[Symptom]:
        found = trial.run()
        if found.ok:
            return [Symptom(what, State.OK, found.detail)]
        return [Symptom(what, State.PROBLEM, found.detail, _next(trial))]

    return Look(what, call, _next(trial))
