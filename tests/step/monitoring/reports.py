"""Reports of made-up batches, for what is told of batches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from xmatch_hats.step.report import STAGES, Account, BatchReport

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_report(number: int = 1, **changes: Any) -> BatchReport:
    """Ten messages of two partitions: seven go out, two are dead letters, one is skipped."""
    fields: dict[str, Any] = {
        "accounts": {"ztf[0]": Account(6, 4, 2, 0), "ztf[1]": Account(4, 3, 0, 1)},
        "statuses": {"matched": 4, "unmatched": 2, "outside-coverage": 1, "rejected": 3},
        "by_catalog": {
            "allwise": {"matched": 3, "unmatched": 3, "outside-coverage": 1, "rejected": 3},
            "gaia": {"matched": 2, "unmatched": 5, "outside-coverage": 0, "rejected": 3},
        },
        "seconds": dict.fromkeys(STAGES, 0.25) | {"match": 0.0625},
        "received": RECEIVED,
        "sent": RECEIVED + timedelta(seconds=1.5),
        "bytes_in": 600,
        "bytes_out": 700,
        "candids": ("1", "2", "3", "4", "5", "6", "7"),
        "object_ids": ("a", "b", "", "d", "e", "f", "g"),
        "dead": {"PacketError": 1, "UnknownSchemaError": 1},
        "lag": {"ztf[0]": 12, "ztf[1]": 0},
        "tables": {"object": 4, "xmatch": 4, "no-oid": 1},
    }
    return BatchReport(number, **(fields | changes))


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(registry: CollectorRegistry) -> Samples:
    """Values by name and labels, as a reader of the rendered text understands them."""
    return parse(generate_latest(registry).decode())


def parse(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labelled(samples: Samples, name: str, label: str) -> dict[str, float]:
    """Values of a metric by one label of its labels."""
    return {dict(labels)[label]: value for (other, labels), value in samples.items() if other == name}


def value_of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]
