#!/usr/bin/env python3
"""Make topics that do not exist yet; those that do are left as they are, and told of where they differ.

Example: topics.py --server localhost:9094 --partitions 6 ztf_alerts ztf_xmatch
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

TIMEOUT_SECONDS = 30.0


def main(arguments: list[str]) -> str | None:
    """Make them, and return what went wrong."""
    options = _parser().parse_args(arguments)
    admin = AdminClient({"bootstrap.servers": options.server})
    wanted = [NewTopic(name, options.partitions, options.replicas) for name in dict.fromkeys(options.topics)]
    faults = []
    for name, made in admin.create_topics(wanted, request_timeout=TIMEOUT_SECONDS).items():
        try:
            sys.stdout.write(f"{name}: {_outcome(admin, name, made, options.partitions)}\n")
        except KafkaException as error:
            faults.append(f"{name}: {error.args[0].str()}")
    return "\n".join(faults) or None


def _outcome(admin: AdminClient, name: str, made: Future[None], wanted: int) -> str:
    try:
        made.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        there = len(admin.list_topics(name, TIMEOUT_SECONDS).topics[name].partitions)
        # More partitions would send an object's next alerts elsewhere than its last ones: not done unasked.
        return f"there already, with {there} partitions" + ("" if there == wanted else f", not {wanted}")
    return f"made, with {wanted} partitions"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("topics", nargs="+", metavar="TOPIC")
    parser.add_argument(
        "--server",
        default=os.environ.get("PRODUCER_SERVER", "localhost:9092"),
        help="HOST:PORT; default: PRODUCER_SERVER, else localhost:9092",
    )
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
