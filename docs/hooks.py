"""What pages say that is made when the site is built: of settings, commands and metrics, and from files elsewhere.

A page has ``<!-- made: NAME -->`` where it belongs. What is told twice would be wrong once: none of this is typed by
hand. MkDocs calls `on_files` and `on_page_markdown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks"
_MARK = re.compile(r"^<!-- made: (\w+) -->$", re.MULTILINE)

GROUPS = {
    "consumer_topics": "Reading from Kafka",
    "producer_topic": "Writing to Kafka",
    "metrics_host": "Metrics messages",
    "catalog": "Catalogues and packets",
    "source": "Files instead of Kafka",
    "dask_scheduler": "Where the work is done",
    "engine": "Database",
    "retries": "Waiting, stopping, watching",
}
"""Headings of the settings, by the first setting of each group as the model has them."""


def on_files(files: Any, config: Any) -> Any:
    """Add the profiles and charts that the benchmarks' figures lead to."""
    from mkdocs.structure.files import File

    for path in sorted([*FIGURES.glob("profiles/*.txt"), *FIGURES.glob("charts/*.svg")]):
        name = f"performance/{path.relative_to(FIGURES)}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what is made."""
    return expand(markdown)


def expand(markdown: str) -> str:
    """Replace the marks of a page by what they stand for.

    Raises
    ------
    KeyError
        A mark stands for nothing.
    """
    return _MARK.sub(lambda mark: MAKERS[mark[1]](), markdown)


def settings() -> str:
    """Every setting of the streaming step, group by group."""
    from xmatch_hats.step.settings import settings_reference

    groups: dict[str, list[tuple[str, ...]]] = {title: [] for title in GROUPS.values()}
    title = ""
    for name, default, about in settings_reference():
        title = GROUPS.get(name.lower(), title)
        groups[title].append((f"`{name.lower()}`", f"`{name}`", _code(default), about))
    head = ("name", "environment variable", "default", "meaning")
    return "\n\n".join(f"## {title}\n\n{_table(head, rows)}" for title, rows in groups.items())


def catalog() -> str:
    """What an entry of ``CATALOG`` may have."""
    from xmatch_hats.step.settings import CatalogSettings

    fields = CatalogSettings.model_fields.items()
    rows = [(f"`{name}`", "required" if info.is_required() else "", info.description or "") for name, info in fields]
    return _table(("key", "", "meaning"), rows)


def commands() -> str:
    """Every verb of the command line, with its arguments and options."""
    from typer.main import get_command

    from xmatch_hats.cli.app import app

    return "\n\n".join(_command(path, command) for path, command in _leaves(get_command(app), "xmatch-hats"))


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, child in command.commands.items():
        yield from _leaves(child, f"{path} {name}")


def _command(path: str, command: Any) -> str:
    text, _, example = (command.help or "").partition("Example:")
    options = [param for param in command.params if param.param_type_name == "option"]
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = " ".join([path, "[OPTIONS]", *(_metavar(param) for param in arguments)])
    parts = [f"## {path}", text.strip(), f"```text\n{usage}\n```"]
    if example.strip():
        parts.append(f"```bash\n{' '.join(example.split())}\n```")
    if arguments:
        parts.append(
            _table(("argument", "meaning"), [(_code(_metavar(param)), param.help or "") for param in arguments])
        )
    if options:
        rows = [(_option(param), _default(param), param.help or "") for param in options]
        parts.append(_table(("option", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _metavar(param: Any) -> str:
    """What stands for the value of an argument or an option; nothing for a flag."""
    if getattr(param, "is_flag", False):
        return ""
    if param.metavar:
        return str(param.metavar)
    kind = param.type_descriptor.annotation
    kinds = [kind, *get_args(kind)] if get_origin(kind) else [kind]
    choices = [item for item in kinds if isinstance(item, type) and issubclass(item, Enum)]
    if choices:
        return "|".join(str(choice.value) for choice in choices[0])
    return str(param.name).upper() if param.param_type_name == "argument" else "N"


def _option(param: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    return f"{names} `{value}`" if (value := _metavar(param)) else names


def _default(param: Any) -> str:
    if param.required:
        return "required"
    value = param.default.value if isinstance(param.default, Enum) else param.default
    if isinstance(value, bool):
        return _code(param.opts[0]) if value else ""
    return "" if value is None else _code(str(value))


def metrics() -> str:
    """Every metric of ``/metrics``, as the step makes them."""
    from xmatch_hats.step.monitoring.metrics import StepMetrics

    registry = StepMetrics([]).registry
    # Labels are told by samples alone, and there are none before the first batch.
    labels = {name: kind for kind, names in registry._collector_to_names.items() for name in names}
    rows = []
    for metric in registry.collect():
        if metric.name.startswith("process_"):
            continue
        name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
        told = ", ".join(f"`{label}`" for label in getattr(labels[metric.name], "_labelnames", ()))
        rows.append((f"`{name}`", metric.type, told, metric.documentation))
    return _table(("metric", "kind", "labels", "meaning"), rows)


def results() -> str:
    """Figures of the benchmarks, as the last runs left them."""
    return (FIGURES / "RESULTS.md").read_text(encoding="utf-8")


def containers() -> str:
    """The guide that lies beside the image's files."""
    return (ROOT / "docker" / "README.md").read_text(encoding="utf-8").replace("in this folder", "in `docker/`", 1)


def changes() -> str:
    """The changelog."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


MAKERS: dict[str, Callable[[], str]] = {
    make.__name__: make for make in (settings, catalog, commands, metrics, results, containers, changes)
}
"""What marks stand for."""
