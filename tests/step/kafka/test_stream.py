"""The loop between topics of a real broker, in both deliveries."""

from __future__ import annotations

from dataclasses import replace

from tests.alerts.makers import unpack
from tests.services.topics import Message, committed, produce, read_all
from tests.step.streams import STATUSES, Stream, alerts, candids
from xmatch_hats.step.report import Account


def again(step: Stream, **changes) -> Stream:
    """Another run of the same step."""
    return Stream(step.address, step.topics, step.out, step.group, step.delivery, **changes)


def test_every_alert_comes_out_once_in_order_with_key_and_status(stream):
    step = stream(partitions=3)
    sent = alerts(230, 3)
    produce(step.address, step.topics[0], sent)
    step.run()
    received = read_all(step.address, step.out)
    assert sorted(candids(received)) == list(range(230))
    for partition in range(3):
        ours = [i for i in candids(received) if (i % 7) % 3 == partition]
        assert ours == sorted(ours)
    for message in received:
        (alert,) = unpack(message.value)
        assert message.key == alert["objectId"].encode()
        assert message.header("xmatch.status") == STATUSES[alert["candid"] % 4]
        assert (alert["xmatches"] is not None) == (STATUSES[alert["candid"] % 4] == "matched")
    assert (step.total.received, step.total.out, step.total.dead) == (230, 230, 0)
    assert sum(committed(step.address, step.group, step.topics[0]).values()) == 230
    assert len(step.reports) >= 5


def test_a_second_run_goes_on_where_the_first_one_ended(stream):
    step = stream()
    produce(step.address, step.topics[0], alerts(30))
    step.run()
    produce(step.address, step.topics[0], alerts(50)[30:])
    second = again(step).run()
    assert second.total.received == 20
    assert candids(read_all(step.address, step.out)) == list(range(50))
    assert again(step).run().total.received == 0


def test_reports_tell_of_each_partition_and_name_the_alerts(stream):
    step = stream(partitions=2)
    sent = [replace(message, value=b"broken") if i % 10 == 0 else message for i, message in enumerate(alerts(60, 2))]
    produce(step.address, step.topics[0], sent)
    step.run()
    totals = {f"{step.topics[0]}[{partition}]": Account() for partition in range(2)}
    for report in step.reports:
        assert report.total.received == report.total.out + report.total.dead
        assert set(report.seconds) == {"decode", "match", "encode", "deliver"}
        for name, account in report.accounts.items():
            assert account.received == account.out + account.dead + account.skipped
            totals[name].add(account)
    for partition in range(2):
        ours = [i for i in range(60) if (i % 7) % 2 == partition]
        dead = [i for i in ours if i % 10 == 0]
        assert totals[f"{step.topics[0]}[{partition}]"] == Account(len(ours), len(ours) - len(dead), len(dead), 0)
    named = [candid for report in step.reports for candid in report.candids]
    assert sorted(map(int, named)) == [i for i in range(60) if i % 10]
    assert sum(report.dead["PacketError"] for report in step.reports) == 6
    assert sum(report.statuses["rejected"] for report in step.reports) == 6
    assert sum(report.bytes_in for report in step.reports) == sum(len(message.value) for message in sent)
    good, dead = read_all(step.address, step.out), read_all(step.address, step.dead)
    assert sum(report.bytes_out for report in step.reports) == sum(len(m.value) for m in [*good, *dead])


def test_headers_of_the_input_are_kept_and_an_earlier_status_is_replaced(make_stream):
    step = make_stream("at-least-once")
    (alert,) = alerts(1)
    headers = [("trace", b"1"), ("trace", b"2"), ("empty", None), ("xmatch.status", b"unmatched")]
    produce(step.address, step.topics[0], [Message(alert.value, b"another key", headers)])
    step.run()
    (received,) = read_all(step.address, step.out)
    assert received.headers == (("trace", b"1"), ("trace", b"2"), ("empty", None), ("xmatch.status", b"matched"))
    assert received.key == b"ZTF0"


def test_an_idle_step_polls_and_takes_up_what_comes(stream):
    step = stream(until_end=False)
    with step.running():
        for last in (5, 12):
            produce(step.address, step.topics[0], alerts(last)[len(read_all(step.address, step.out)) :])
            step.wait_for(lambda last=last: step.total.out == last, f"{last} alerts out")
    assert candids(read_all(step.address, step.out)) == list(range(12))
    assert committed(step.address, step.group, step.topics[0])[0] >= 12
