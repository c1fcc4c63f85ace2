from __future__ import annotations

import threading

import pytest

from tests.step.monitoring.reports import RECEIVED, labelled, make_report, scrape, value_of
from xmatch_hats import __version__
from xmatch_hats.matching.resident.cache import CacheCounts
from xmatch_hats.step.monitoring.metrics import StepMetrics
from xmatch_hats.step.report import STAGES, Account


@pytest.fixture
def metrics():
    return StepMetrics(["allwise", "gaia"])


def test_counts_of_batches_add_up(metrics):
    metrics.batch(make_report())
    metrics.batch(make_report(2, accounts={"ztf[1]": Account(5, 5, 0, 0), "ztf[2]": Account(1, 0, 1, 0)}))
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_messages_in_total", "partition") == {"ztf[0]": 6, "ztf[1]": 9, "ztf[2]": 1}
    assert labelled(seen, "xmatch_hats_messages_out_total", "partition") == {"ztf[0]": 4, "ztf[1]": 8, "ztf[2]": 0}
    assert labelled(seen, "xmatch_hats_messages_dead_total", "partition") == {"ztf[0]": 2, "ztf[1]": 0, "ztf[2]": 1}
    assert labelled(seen, "xmatch_hats_messages_skipped_total", "partition") == {"ztf[0]": 0, "ztf[1]": 1, "ztf[2]": 0}
    assert labelled(seen, "xmatch_hats_unaccounted", "partition") == {"ztf[0]": 0, "ztf[1]": 0, "ztf[2]": 0}
    assert labelled(seen, "xmatch_hats_dead_letters_total", "error") == {"PacketError": 2, "UnknownSchemaError": 2}
    assert value_of(seen, "xmatch_hats_batches_total") == 2
    assert value_of(seen, "xmatch_hats_in_bytes_total") == 1200
    assert value_of(seen, "xmatch_hats_out_bytes_total") == 1400
    assert value_of(seen, "xmatch_hats_last_batch_timestamp_seconds") == RECEIVED.timestamp() + 1.5


def test_what_is_unaccounted_for_shows_and_stays(metrics):
    metrics.batch(make_report(accounts={"ztf[0]": Account(5, 3, 1, 0), "ztf[1]": Account(1, 2, 0, 0)}))
    metrics.batch(make_report(2))
    assert labelled(scrape(metrics.registry), "xmatch_hats_unaccounted", "partition") == {"ztf[0]": 1, "ztf[1]": -1}


def test_alerts_by_status_and_catalogue(metrics):
    metrics.batch(make_report())
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_alerts_total", "status") == {
        "matched": 4,
        "unmatched": 2,
        "outside-coverage": 1,
        "rejected": 3,
    }
    of = {
        (catalog, status): value_of(seen, "xmatch_hats_catalog_alerts_total", catalog=catalog, status=status)
        for catalog in ("allwise", "gaia")
        for status in ("matched", "unmatched", "outside-coverage")
    }
    assert list(of.values()) == [3, 3, 1, 2, 5, 0]


def test_counts_begin_at_zero(metrics):
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_alerts_total", "status") == dict.fromkeys(
        ("matched", "unmatched", "outside-coverage"), 0
    )
    assert value_of(seen, "xmatch_hats_catalog_alerts_total", catalog="gaia", status="outside-coverage") == 0
    assert value_of(seen, "xmatch_hats_account_errors_total") == 0


def test_histograms(metrics):
    metrics.batch(make_report())
    metrics.batch(make_report(2, seconds={"match": 3.0}))
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_stage_seconds_count", "stage") == dict.fromkeys(STAGES, 1) | {"match": 2}
    assert labelled(seen, "xmatch_hats_stage_seconds_sum", "stage")["match"] == 3.0625
    assert value_of(seen, "xmatch_hats_stage_seconds_bucket", stage="match", le="0.1") == 1
    assert value_of(seen, "xmatch_hats_batch_messages_sum") == 20
    assert value_of(seen, "xmatch_hats_batch_messages_bucket", le="10.0") == 2
    assert value_of(seen, "xmatch_hats_batch_messages_bucket", le="3.0") == 0
    assert value_of(seen, "xmatch_hats_batch_seconds_sum") == 3.0


def test_database_rows_and_alerts_without(metrics):
    metrics.batch(make_report())
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_database_rows_total", "table") == {"object": 4, "xmatch": 4}
    assert labelled(seen, "xmatch_hats_alerts_not_stored_total", "reason") == {"no-oid": 1}


def test_lag_of_partitions_that_were_taken_away_is_forgotten(metrics):
    metrics.lag({"ztf[0]": 5, "ztf[1]": 6})
    metrics.batch(make_report(lag={"ztf[1]": 2, "ztf[7]": 3}))
    assert labelled(scrape(metrics.registry), "xmatch_hats_lag_messages", "partition") == {
        "ztf[0]": 5,
        "ztf[1]": 2,
        "ztf[7]": 3,
    }
    metrics.lag({"ztf[1]": 1})
    assert labelled(scrape(metrics.registry), "xmatch_hats_lag_messages", "partition") == {"ztf[1]": 1}
    metrics.lag({})
    assert labelled(scrape(metrics.registry), "xmatch_hats_lag_messages", "partition") == {}
    metrics.lag({"ztf[0]": 9})
    assert labelled(scrape(metrics.registry), "xmatch_hats_lag_messages", "partition") == {"ztf[0]": 9}


def test_waiting_and_its_tries(metrics):
    for failures in (1, 2, 3):
        metrics.waiting("database", failures)
    metrics.resumed("dask")
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_waiting", "component") == {"database": 1, "dask": 0}
    metrics.resumed("database")
    metrics.waiting("database", 2)
    metrics.resumed("database")
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_waiting", "component") == {"database": 0, "dask": 0}
    assert labelled(seen, "xmatch_hats_failed_tries_total", "component") == {"database": 5, "dask": 0}


def test_running_totals_become_counters_even_when_they_begin_anew(metrics):
    for hits, misses in ((3, 2), (10, 2), (10, 2), (4, 1), (5, 1)):
        metrics.cache(hits, misses)
    seen = scrape(metrics.registry)
    assert value_of(seen, "xmatch_hats_schema_cache_hits_total") == 15
    assert value_of(seen, "xmatch_hats_schema_cache_misses_total") == 3


def test_partitions_that_workers_keep(metrics):
    for counts in (CacheCounts(5, 3, 0, 1000), CacheCounts(5, 3, 0, 1000), CacheCounts(9, 4, 2, 700)):
        metrics.partitions(counts)
    # Whoever counts may be looked at in the middle of it.
    metrics.partitions(CacheCounts(8, 4, 2, 700))
    seen = scrape(metrics.registry)
    expected = {"hits_total": 9, "misses_total": 4, "evictions_total": 2, "bytes": 700}
    assert {name: value_of(seen, f"xmatch_hats_partition_cache_{name}") for name in expected} == expected


def test_the_group_the_cluster_and_the_rest(metrics):
    metrics.assigned(4)
    metrics.assigned(2)
    metrics.rebalances()
    metrics.rebalances(2)
    metrics.workers(3)
    metrics.gap("ztf[0]", 100)
    metrics.gap("ztf[0]", 20)
    metrics.metrics_message_dropped()
    metrics.account_error()
    seen = scrape(metrics.registry)
    assert value_of(seen, "xmatch_hats_assigned_partitions") == 2
    assert value_of(seen, "xmatch_hats_rebalances_total") == 3
    assert value_of(seen, "xmatch_hats_dask_workers") == 3
    assert labelled(seen, "xmatch_hats_offsets_lost_total", "partition") == {"ztf[0]": 120}
    assert value_of(seen, "xmatch_hats_metrics_messages_dropped_total") == 1
    assert value_of(seen, "xmatch_hats_account_errors_total") == 1
    assert labelled(seen, "xmatch_hats_build_info", "version") == {__version__: 1}


def test_two_steps_in_a_process_share_nothing(metrics):
    other = StepMetrics(["allwise"])
    other.batch(make_report())
    assert value_of(scrape(metrics.registry), "xmatch_hats_batches_total") == 0


def test_any_name_of_a_partition_is_a_label(metrics):
    name = 'a"b\\c\nd[0]'
    metrics.batch(make_report(accounts={name: Account(1, 1)}))
    assert labelled(scrape(metrics.registry), "xmatch_hats_messages_in_total", "partition") == {name: 1}


def test_threads_lose_no_counts(metrics):
    def work() -> None:
        for number in range(50):
            metrics.batch(make_report(number))
            metrics.lag({"ztf[0]": number})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        scrape(metrics.registry)
        thread.join()
    seen = scrape(metrics.registry)
    assert labelled(seen, "xmatch_hats_messages_in_total", "partition") == {"ztf[0]": 1200, "ztf[1]": 800}
    assert labelled(seen, "xmatch_hats_unaccounted", "partition") == {"ztf[0]": 0, "ztf[1]": 0}
