"""Packets: what is read of one, and what is written of it."""

from __future__ import annotations

import pytest

from benchmarks.packets import packets_of
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import InputOutput, assemble


@pytest.fixture(scope="session")
def natives():
    return packets_of()[:200]


def test_decode_prefix(benchmark, natives):
    reader = PacketReader()
    packets = benchmark(lambda: [reader.read(packet) for packet in natives])
    benchmark.extra_info["packets"] = len(packets)


def test_splice(benchmark, natives):
    reader = PacketReader()
    packets = [reader.read(packet) for packet in natives]
    output = InputOutput()
    union = b"\x02"  # no match: the union's second branch

    def splice() -> int:
        size = 0
        for packet in packets:
            header, encode = output.begin(packet)
            chunks = assemble(header, packet, [encode(alert, union) for alert in packet.alerts])
            size += sum(map(len, chunks))
        return size

    assert benchmark(splice) > sum(map(len, natives))
    benchmark.extra_info["packets"] = len(packets)
