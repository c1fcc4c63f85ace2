"""From messages to a report: what is matched, what is told, and accounts that must add up."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pytest

from tests.alerts.makers import pack, small_alert, stand_in, unpack
from xmatch_hats.alerts.enrich import Enricher
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import InputOutput
from xmatch_hats.errors import AccountError, BrokerError, PacketError, PartitionReadError, StoreError
from xmatch_hats.step.flight import Chunk, Delivery, Fate, Flight, Message
from xmatch_hats.step.pipeline import Pipeline
from xmatch_hats.step.waiting import AbandonedError, Stop, Waiter


class HonestSink:
    """Counts what it is given."""

    def __init__(self) -> None:
        self.out: list[dict] = []

    def deliver(self, flight, watch) -> Delivery:
        delivery = Delivery()
        for fate in flight.fates:
            if fate.goes_out:
                delivery.account(fate.message.account).out += 1
                delivery.bytes_out += len(fate.outcome.data)
                self.out += unpack(fate.outcome.data)
            else:
                delivery.count_dead(fate, fate.error)
        watch("flushed", flight.number)
        return delivery


class Failing:
    """Something called that fails some times before it does as another one does."""

    def __init__(self, call, *errors: Exception) -> None:
        self.call, self.errors, self.calls = call, list(errors), 0

    def __call__(self, *arguments):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.call(*arguments)


def batch(*accounts: str, bad: tuple[int, ...] = (), nowhere: tuple[int, ...] = ()) -> Flight:
    """One message for each account; some cannot be read, some have no place on the sky."""
    decs = (-5.0, 3.0, 89.0, -6.0)
    messages = [
        Message(b"bad" if i in bad else pack([small_alert(i, dec=100.0 if i in nowhere else decs[i % 4])]), account, i)
        for i, account in enumerate(accounts)
    ]
    chunks = []
    for part in (messages[:3], messages[3:]):
        chunk = Chunk(part, Future())
        chunk.decoded.set_result([decode(message) for message in part])
        chunks.append(chunk)
    return Flight(7, chunks)


def decode(message: Message) -> Fate:
    try:
        return Fate(message, PacketReader().read(message.data))
    except PacketError as error:
        return Fate(message, error=error)


def pipeline(sink, **options) -> Pipeline:
    stop = options.pop("stop", Stop())
    enricher = Enricher(options.pop("matcher", stand_in()), InputOutput())
    return Pipeline(lambda: enricher, sink, Waiter(stop, 0.001), **options)


def test_a_report_tells_what_became_of_every_message():
    sink, seen = HonestSink(), []
    flight = batch(*"aabbabab", bad=(2, 5), nowhere=(4,))
    report = pipeline(sink, watch=lambda name, number: seen.append((name, number))).process(flight)
    assert [alert["candid"] for alert in sink.out] == [0, 1, 3, 6, 7]
    assert [alert["xmatches"] is not None for alert in sink.out] == [True, False, True, False, True]
    accounts = {name: (one.received, one.out, one.dead, one.skipped) for name, one in report.accounts.items()}
    assert accounts == {"a": (4, 3, 1, 0), "b": (4, 2, 2, 0)}
    assert report.dead == {"PacketError": 3}
    assert report.statuses == {"matched": 3, "unmatched": 1, "outside-coverage": 1, "rejected": 3}
    assert report.by_catalog == {"allwise": report.statuses}
    assert report.candids == ("0", "1", "3", "6", "7")
    assert report.object_ids == ("ZTF0", "ZTF1", "ZTF3", "ZTF6", "ZTF7")
    assert report.number == 7
    assert report.received == flight.received <= report.sent
    assert seen == [("consumed", 7), ("matched", 7), ("flushed", 7)]
    assert list(report.seconds) == ["decode", "match", "encode", "deliver"]


def test_a_batch_of_nothing_but_bad_messages_is_a_batch():
    report = pipeline(HonestSink()).process(batch("a", "a", bad=(0, 1)))
    assert (report.total.received, report.total.dead, report.statuses["rejected"]) == (2, 2, 2)


def test_a_batch_whose_partitions_all_went_is_empty():
    flight = batch("a", "b")
    flight.drop({"a", "b"})
    report = pipeline(HonestSink()).process(flight)
    assert (report.total.received, dict(report.accounts)) == (0, {})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda delivery: setattr(delivery.accounts["b"], "out", 1), "3 messages came in, and 1 went out, 1 are dead"),
        (lambda delivery: setattr(delivery.accounts["b"], "out", 3), "3 messages came in, and 3 went out, 1 are dead"),
        (lambda delivery: delivery.accounts.pop("b"), "3 messages came in, and 0 went out, 0 are dead"),
        (lambda delivery: delivery.account("c"), None),
        (lambda delivery: setattr(delivery.account("c"), "out", 1), "0 messages came in, and 1 went out"),
        (lambda delivery: setattr(delivery.accounts["b"], "skipped", 1), "1 were skipped"),
    ],
)
def test_a_sink_that_does_not_tell_the_truth_stops_the_step(spoil, told):
    class Liar(HonestSink):
        def deliver(self, flight, watch) -> Delivery:
            delivery = super().deliver(flight, watch)
            spoil(delivery)
            return delivery

    run = pipeline(Liar())
    if told is None:
        run.process(batch(*"aabbb", bad=(2,)))
        return
    with pytest.raises(AccountError, match=told) as caught:
        run.process(batch(*"aabbb", bad=(2,)))
    assert caught.value.place in ("b", "c")


def test_a_failure_of_the_system_is_waited_for_and_never_held_against_a_packet():
    matcher, sink = stand_in(), HonestSink()
    matcher.match = Failing(matcher.match, PartitionReadError("cannot be read"), OSError("disk"))
    sink.deliver = Failing(sink.deliver, BrokerError("away"), BrokerError("away"))
    report = pipeline(sink, matcher=matcher).process(batch(*"aaaa"))
    assert (report.total.out, report.total.dead) == (4, 0)
    assert report.statuses["unmatched"] == 1
    assert (matcher.match.calls, sink.deliver.calls) == (3, 3)


def test_a_fault_of_the_program_is_raised():
    matcher = stand_in()
    matcher.match = Failing(matcher.match, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        pipeline(HonestSink(), matcher=matcher).process(batch("a"))


def test_a_run_that_is_made_to_end_gives_the_batch_up_between_two_steps():
    stop, sink = Stop(), HonestSink()
    run = pipeline(sink, stop=stop, watch=lambda name, _: stop.abandoned.set() if name == "matched" else None)
    with pytest.raises(AbandonedError, match="output"):
        run.process(batch("a"))
    assert sink.out == []


class Rows:
    """Tables that remember."""

    def __init__(self) -> None:
        self.written: list[tuple[list[int], list[bool]]] = []

    def write(self, matched, enricher, goes_on) -> dict[str, int]:
        self.written.append(([alert.candid for alert in matched.alerts], goes_on.tolist()))
        return {"xmatch": int(np.sum(goes_on))}


def test_tables_are_written_before_anything_goes_out_and_only_of_what_goes_on():
    tables, sink, seen = Rows(), HonestSink(), []
    tables.write = Failing(tables.write, StoreError("away"))
    run = pipeline(sink, tables=tables, watch=lambda name, _: seen.append((name, len(sink.out))))
    report = run.process(batch(*"aaaaa", bad=(1,), nowhere=(3,)))
    assert seen == [("consumed", 0), ("matched", 0), ("stored", 0), ("flushed", 3)]
    assert report.tables == {"xmatch": 3}
    assert "store" in report.seconds
    assert tables.write.calls == 2


def test_positions_may_be_matched_in_pieces():
    matcher = stand_in()
    report = pipeline(HonestSink(), matcher=matcher, max_positions=2).process(batch(*"aaaaa"))
    assert matcher.batches == [2, 2, 1]
    assert report.statuses == {"matched": 3, "unmatched": 1, "outside-coverage": 1, "rejected": 0}
