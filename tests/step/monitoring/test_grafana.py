"""The dashboard and what is provisioned beside it name only what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.step.monitoring.reports import make_report, scrape
from xmatch_hats.step.monitoring.metrics import StepMetrics

DOCKER = Path(__file__).resolve().parents[3] / "docker"
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "xmatch_hats.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]
FUNCTIONS = {"sum", "max", "count", "rate", "increase", "histogram_quantile", "abs", "time"}
GIVEN_BY_PROMETHEUS = {"instance", "job"}


@pytest.fixture(scope="module")
def labels_by_metric() -> dict[str, set[str]]:
    """Of every metric of a step that all has happened to."""
    metrics = StepMetrics(["allwise"])
    metrics.batch(make_report())
    metrics.waiting("database", 1)
    metrics.gap("ztf[0]", 1)
    labels: dict[str, set[str]] = {}
    for name, own in scrape(metrics.registry):
        labels.setdefault(name, set()).update(key for key, _ in own)
    return labels


def grouped(expression: str) -> set[str]:
    return {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}


def metrics_of(expression: str) -> set[str]:
    """Every name that is neither a label, a function nor a variable."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", " ", expression)
    return set(re.findall(r"[A-Za-z_]\w*", bare)) - FUNCTIONS


@pytest.mark.parametrize(("title", "expression", "legend"), QUERIES)
def test_queries_name_metrics_and_labels_that_there_are(labels_by_metric, title, expression, legend):
    named = metrics_of(expression)
    assert named
    assert named <= set(labels_by_metric)
    known = set.union(*(labels_by_metric[name] for name in named)) | GIVEN_BY_PROMETHEUS
    used = grouped(expression)
    assert used <= known
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert shown <= (used or known)
    for selector in re.findall(r"\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*=", selector)) <= known
    assert expression.count("(") == expression.count(")")


def test_counters_are_shown_as_rates():
    for _, expression, _ in QUERIES:
        for name in metrics_of(expression):
            if name.endswith(("_total", "_bucket", "_sum", "_count")):
                assert re.search(rf"(rate|increase)\({name}\{{", expression)


@pytest.mark.parametrize(
    "metric",
    [
        "messages_in_total",
        "messages_out_total",
        "alerts_total",
        "lag_messages",
        "dead_letters_total",
        "stage_seconds_bucket",
        "batch_messages_bucket",
        "waiting",
        "dask_workers",
        "unaccounted",
    ],
)
def test_what_an_operator_asks_for_is_shown(metric):
    assert any(f"xmatch_hats_{metric}" in metrics_of(expression) for _, expression, _ in QUERIES)


def test_panels_are_whole():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    covered = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & covered
        covered |= cells
    for panel in PANELS:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        for owner in (panel, *panel["targets"]):
            assert owner["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_variables(labels_by_metric):
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    (metric, label) = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["instance"]["query"]["query"]).groups()
    assert metric in labels_by_metric
    assert label in GIVEN_BY_PROMETHEUS


def test_the_data_source_is_a_prometheus_that_scrapes_as_often_as_it_is_said_to():
    provisioned = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]
    scraping = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    assert source["type"] == "prometheus"
    assert source["isDefault"] is True
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]


def test_every_container_of_the_step_is_scraped():
    (job,) = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    assert (names["names"], names["type"], names["port"]) == (["step"], "A", 8080)
    assert job.get("metrics_path", "/metrics") == "/metrics"


def test_the_dashboard_is_provisioned():
    (provider,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/xmatch_hats.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")
