"""The group as transactions see it: who this member is in it, and what has been committed."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from xmatch_hats.errors import BrokerError
from xmatch_hats.step.kafka.offsets import Partition

_TIMEOUT = 10.0


class Membership:
    """What is known of a consumer's group in another thread than the one that polls it.

    A consumer takes one call at a time, and one that is polled without a pause keeps every other caller waiting for
    ever. So the polling thread takes down who it is, and what has been committed is asked by a client that comes and
    goes.

    Parameters
    ----------
    conf : dict
        Of the consumer.
    """

    def __init__(self, conf: dict[str, Any]) -> None:
        self._conf = {name: value for name, value in conf.items() if not callable(value)}
        self.metadata: Any = None
        """Under what name and generation offsets are committed; None while it is no member.

        Without a member's name the broker would take offsets from anybody, so one that was just thrown out must not
        send them.
        """

    def note(self, consumer: Consumer) -> None:
        """Take down who the consumer is; to be called between its polls, by the thread that polls."""
        before = consumer.memberid()
        metadata = consumer.consumer_group_metadata()
        self.metadata = metadata if before and consumer.memberid() == before else None

    def committed(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Ask for committed offsets; one that is part of an open transaction is waited for.

        Raises
        ------
        BrokerError
            The broker does not tell.
        """
        client = Consumer(self._conf)
        try:
            known = client.committed([TopicPartition(*partition) for partition in partitions], _TIMEOUT)
        except KafkaException as error:
            raise BrokerError(f"does not tell the offsets: {error.args[0].str()}", place="CONSUMER_SERVER") from error
        finally:
            client.close()
        return {(partition.topic, partition.partition): partition.offset for partition in known}
