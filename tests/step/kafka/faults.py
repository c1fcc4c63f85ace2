"""Faults on order: a mock cluster that refuses requests, and a client that has failed for good."""

from __future__ import annotations

import ctypes
import functools
import re
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from tests.services.mock import MockKafka

PRODUCE, OFFSET_COMMIT, OFFSET_FETCH, JOIN_GROUP = 0, 8, 9, 11
"""Numbers of requests in Kafka's protocol."""


class FaultyKafka(MockKafka):
    """A mock cluster of its own for one test, whose broker can be told to refuse."""

    def __init__(self) -> None:
        super().__init__()
        self._cluster = _librdkafka().rd_kafka_handle_mock_cluster(_pointer(self._handle))
        # Groups need not wait for members that do not come.
        _librdkafka().rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)

    def refuse(self, request: int, *errors: int) -> None:
        """Answer the next requests of a kind with these errors, one each; 0 lets one pass."""
        codes = (ctypes.c_int * len(errors))(*errors)
        _librdkafka().rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), len(errors), codes
        )


def fail_for_good(client: Any, error: int, reason: str) -> None:
    """Have a client take an error as fatal, as if its broker had said so."""
    _librdkafka().rd_kafka_test_fatal_error(_pointer(client), error, reason.encode())


@functools.cache
def _librdkafka() -> ctypes.CDLL:
    """The library that the clients themselves run on; its own tests use the same functions."""
    mapped = re.findall(r"/\S*librdkafka\S*\.so\S*", Path("/proc/self/maps").read_text())
    if not mapped:
        pytest.skip(f"librdkafka {confluent_kafka.libversion()[0]} is not a library of its own here")
    library = ctypes.CDLL(mapped[0])
    library.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
    library.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_push_request_errors_array.argtypes = [
        ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p,
    ]  # fmt: skip
    library.rd_kafka_test_fatal_error.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    return library


def _pointer(client: Any) -> int:
    """The client's ``rd_kafka_t``: the first field of its object, behind Python's own two."""
    pointer = ctypes.c_void_p.from_address(id(client) + object.__basicsize__).value
    assert pointer
    return pointer
