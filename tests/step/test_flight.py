"""A batch on its way: its counts, its bounds, and partitions that are taken from it."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pytest

from tests.alerts.makers import pack, small_alert
from xmatch_hats.alerts.enrich import Outcome
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.errors import PacketError
from xmatch_hats.step.flight import Chunk, Delivery, ErrorPolicy, Fate, Flight, Message, PoisonedError, alert_names
from xmatch_hats.step.waiting import AbandonedError

PACKETS = [pack([small_alert(i)]) for i in range(8)]


def chunk(*places: tuple[str, int], is_decoded: bool = True) -> Chunk:
    messages = [Message(PACKETS[i], account, number) for i, (account, number) in enumerate(places)]
    made = Chunk(messages, Future())
    if is_decoded:
        decode(made)
    return made


def decode(made: Chunk) -> None:
    made.decoded.set_result([Fate(message, PacketReader().read(message.data)) for message in made.messages])


def test_size_and_alerts_are_the_messages_until_they_are_decoded():
    three = pack([small_alert(i) for i in range(3)], codec="deflate")
    made = Chunk([Message(three, "a", 0), Message(b"broken", "a", 1)], Future())
    flight = Flight(1, [made])
    assert (flight.size, flight.alerts) == (len(three) + 6, 2)
    packet = PacketReader().read(three)
    made.decoded.set_result([Fate(made.messages[0], packet), Fate(made.messages[1], error=PacketError("broken"))])
    assert (flight.size, flight.alerts) == (packet.size + 6, 4)
    assert packet.size > len(three)


def test_chunks_are_measured_whatever_is_decoded_first():
    first, second = chunk(("a", 0), ("a", 1), is_decoded=False), chunk(("a", 2))
    flight = Flight(1, [first, second])
    assert (flight.alerts, flight.undecoded) == (3, 2)
    decode(first)
    assert (flight.alerts, flight.undecoded) == (3, 0)
    flight.chunks.append(chunk(("a", 3)))
    assert flight.alerts == 4
    assert flight.size == sum(fate.packet.size for one in flight.chunks for fate in one.decoded.result())


def test_what_was_decoded_at_once_needs_no_waiting():
    fates = [Fate(message, PacketReader().read(message.data)) for message in chunk(("a", 0), ("b", 1)).messages]
    made = Chunk([fate.message for fate in fates], fates)
    flight = Flight(1, [made])
    assert (flight.alerts, flight.size, flight.undecoded) == (2, sum(fate.packet.size for fate in fates), 0)
    flight.drop({"a"})
    assert made.fates() == fates[1:]


def test_a_decoding_that_failed_is_measured_by_its_messages_and_raised_when_it_is_asked_for():
    made = chunk(("a", 0), is_decoded=False)
    made.decoded.set_exception(AbandonedError("told to end"))
    assert (Flight(1, [made]).alerts, Flight(1, [made]).size) == (1, len(PACKETS[0]))
    with pytest.raises(AbandonedError):
        made.fates()


def test_starts_and_ends_are_of_the_partitions_that_are_still_here():
    flight = Flight(1, [chunk(("a", 5), ("b", 0), ("a", 6)), chunk(("b", 1), ("c", 9))])
    assert flight.starts() == {"a": 5, "b": 0, "c": 9}
    assert flight.ends() == {"a": 6, "b": 1, "c": 9}
    flight.drop({"b"})
    assert flight.starts() == {"a": 5, "c": 9}
    assert flight.ends() == {"a": 6, "c": 9}
    assert [fate.message.number for one in flight.chunks for fate in one.fates()] == [5, 6, 9]


def test_what_comes_from_a_partition_after_it_was_dropped_is_kept():
    flight = Flight(1, [chunk(("a", 5))])
    flight.drop({"a", "never seen"})
    flight.chunks.append(chunk(("a", 3)))
    assert (flight.starts(), flight.ends()) == ({"a": 3}, {"a": 3})


def test_a_lost_batch_is_not_to_be_delivered():
    flight = Flight(1)
    flight.require_kept()
    flight.lost = True
    with pytest.raises(AbandonedError, match="somebody else"):
        flight.require_kept()


def test_policies():
    message, error = Message(b"", "topic[3]", 12), PacketError("is broken")
    assert ErrorPolicy().sets_aside(message, error)
    assert not ErrorPolicy("skip").sets_aside(message, error)
    with pytest.raises(PoisonedError) as caught:
        ErrorPolicy("fail").sets_aside(message, error)
    assert str(caught.value) == "topic[3] offset 12: cannot be used: is broken (ERROR_POLICY is fail)"


def test_a_delivery_counts_dead_letters_by_their_reason():
    delivery = Delivery()
    for account, error in (("a", PacketError("1")), ("a", PacketError("2")), ("b", AbandonedError("3"))):
        delivery.count_dead(Fate(Message(b"", account, 0)), error)
    assert delivery.dead == {"PacketError": 2, "AbandonedError": 1}
    assert {name: account.dead for name, account in delivery.accounts.items()} == {"a": 2, "b": 1}


def test_names_are_of_what_goes_out():
    fates = []
    for number, data in enumerate([PACKETS[0], None, PACKETS[2]]):
        fate = Fate(Message(PACKETS[number], "a", number), PacketReader().read(PACKETS[number]))
        fate.outcome = Outcome(None if data is None else [data], np.zeros(1, np.uint8), {})
        fates.append(fate)
    fates[2].refuse(PacketError("too large"))
    assert alert_names(fates) == (("0",), ("ZTF0",))
    assert fates[2].error is not None
    assert not fates[2].goes_out
