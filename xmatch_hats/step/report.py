"""What became of a batch: counts that must add up, and the figures that metrics and logs are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from xmatch_hats.errors import AccountError


@dataclass(slots=True)
class Account:
    """Messages of one input partition: what came in is what went out, was set aside, or was skipped."""

    received: int = 0
    out: int = 0
    """Confirmed by the sink."""
    dead: int = 0
    """Confirmed by the sink as dead letters."""
    skipped: int = 0
    """Left out because the error policy says so."""

    def add(self, other: Account) -> None:
        """Add the counts of another batch of the same partition."""
        self.received += other.received
        self.out += other.out
        self.dead += other.dead
        self.skipped += other.skipped

    def check(self, place: str) -> None:
        """Compare in with out.

        Raises
        ------
        AccountError
            They differ.
        """
        if self.received != self.out + self.dead + self.skipped:
            raise AccountError(
                f"{self.received} messages came in, and {self.out} went out, {self.dead} are dead letters, "
                f"{self.skipped} were skipped",
                place=place,
            )


STAGES = ("decode", "match", "encode", "store", "deliver", "commit")
"""What a batch goes through, in order; seconds are told by these names."""


@dataclass(frozen=True)
class BatchReport:
    """One batch, delivered and committed."""

    number: int
    """Of the batch in this run, from 1."""
    accounts: Mapping[str, Account]
    """By input partition, ``topic[3]``; files are one account, ``files``."""
    statuses: Mapping[str, int]
    """Alerts by `MatchStatus.label`, over all catalogues."""
    by_catalog: Mapping[str, Mapping[str, int]]
    """The same for each catalogue."""
    seconds: Mapping[str, float]
    """By the names of `STAGES`; stages that a run does not have are missing."""
    received: datetime
    """When its first message came, UTC."""
    sent: datetime
    """When it was delivered, UTC."""
    bytes_in: int = 0
    bytes_out: int = 0
    candids: tuple[str, ...] = ()
    """Of the alerts that were delivered, in input order."""
    object_ids: tuple[str, ...] = ()
    """The same; empty strings for alerts without."""
    dead: Mapping[str, int] = field(default_factory=dict)
    """Dead letters by class of error."""
    lag: Mapping[str, int] = field(default_factory=dict)
    """By input partition, messages that wait behind the last one of this batch, where known."""
    tables: Mapping[str, int] = field(default_factory=dict)
    """What was written to the database, and not: counts as `xmatch_hats.store` names them."""

    @property
    def total(self) -> Account:
        """All partitions together."""
        total = Account()
        for account in self.accounts.values():
            total.add(account)
        return total
