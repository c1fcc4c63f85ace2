"""Decoding ahead of the batch, in order, and what cannot be decoded."""

from __future__ import annotations

import threading

import pytest

from tests.alerts.makers import pack, small_alert
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.errors import PacketError, RegistryError
from xmatch_hats.step.decoding import Decoder
from xmatch_hats.step.flight import Message
from xmatch_hats.step.waiting import AbandonedError, Stop, Waiter


@pytest.fixture(params=[True, False], ids=["ahead", "at once"])
def ahead(request) -> bool:
    return request.param


def message(data: bytes, number: int = 0, fault: PacketError | None = None) -> Message:
    return Message(data, "a", number, fault=fault)


def test_good_and_bad_messages_are_told_apart_in_order(ahead):
    decoder = Decoder(PacketReader().read, Waiter(Stop()), ahead=ahead)
    fault = PacketError("has no value")
    given = [message(pack([small_alert(i)]), i) if i % 3 else message(b"broken", i) for i in range(9)]
    given.append(message(b"", 9, fault))
    fates = decoder.submit(given).fates()
    decoder.close()
    assert [fate.message for fate in fates] == given
    assert [i for i, fate in enumerate(fates) if fate.error] == [0, 3, 6, 9]
    assert [fate.packet.alerts[0].candid for fate in fates if fate.packet] == [1, 2, 4, 5, 7, 8]
    assert fates[9].error is fault


def test_a_reader_that_waits_for_something_is_asked_again(ahead):
    failures, told = [3], []

    def read(data: bytes):
        if failures[0]:
            failures[0] -= 1
            raise RegistryError("does not answer")
        return PacketReader().read(data)

    waiter = Waiter(Stop(), 0.01, on_wait=lambda *what: told.append(what))
    (fate,) = Decoder(read, waiter, ahead=ahead).submit([message(pack([small_alert(4)]))]).fates()
    assert fate.packet.alerts[0].candid == 4
    assert told == [("schema registry", "does not answer", n) for n in (1, 2, 3)] + [("schema registry", "", 0)]


def test_a_reader_that_waits_is_given_up_when_the_run_is_made_to_end():
    stop, asked = Stop(), threading.Event()

    def read(data: bytes):
        asked.set()
        raise RegistryError("does not answer")

    chunk = Decoder(read, Waiter(stop, 60)).submit([message(b"x")])
    asked.wait(30)
    stop.abandoned.set()
    with pytest.raises(AbandonedError, match="schema registry"):
        chunk.fates()


def test_a_fault_of_the_program_is_raised_where_the_result_is_asked_for_and_the_decoder_goes_on():
    calls = []

    def read(data: bytes):
        calls.append(data)
        if data == b"bad":
            raise RuntimeError("a bug")
        return PacketReader().read(data)

    decoder = Decoder(read, Waiter(Stop()))
    bad, good = decoder.submit([message(b"bad")]), decoder.submit([message(pack([small_alert(1)]))])
    with pytest.raises(RuntimeError, match="a bug"):
        bad.fates()
    assert good.fates()[0].packet is not None
    decoder.close()


def test_at_once_a_fault_of_the_program_is_raised_at_once():
    def read(data: bytes):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Decoder(read, Waiter(Stop()), ahead=False).submit([message(b"bad")])


def test_partitions_that_went_meanwhile_are_left_out():
    decoder = Decoder(PacketReader().read, Waiter(Stop()))
    chunk = decoder.submit([Message(pack([small_alert(i)]), "ab"[i % 2], i) for i in range(6)])
    chunk.dropped.add("a")
    assert [fate.message.number for fate in chunk.fates()] == [1, 3, 5]
