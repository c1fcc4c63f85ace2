from __future__ import annotations

import math

import pyarrow as pa
import pytest

from tests.alerts.makers import ROWS, StandIn, pack, small_alert, stand_in, unpack
from xmatch_hats.alerts.enrich import Enricher
from xmatch_hats.alerts.packet import PacketReader
from xmatch_hats.alerts.splice import InputOutput
from xmatch_hats.errors import PacketError, PartitionReadError, UsageError
from xmatch_hats.matching.status import MatchStatus

MATCHED, UNMATCHED, OUTSIDE, REJECTED = (int(status) for status in MatchStatus)


class Step(Enricher):
    """Bytes to outcomes in one go."""

    def __init__(self, matcher, output):
        super().__init__(matcher, output)
        self.decode = PacketReader().read

    def process(self, packets, max_positions=None):
        return self.encode(self.match(packets, max_positions))


def step(matcher=None, output=None) -> Step:
    return Step(matcher or stand_in(), output or InputOutput())


def test_bytes_go_in_and_come_out():
    run = step()
    packets = [run.decode(pack([small_alert(i, dec=dec)])) for i, dec in enumerate((-5.0, 3.0, 89.0, -6.0))]
    outcomes = list(run.process(packets))
    assert [outcome.status.tolist() for outcome in outcomes] == [[MATCHED], [UNMATCHED], [OUTSIDE], [MATCHED]]
    first, second, third, fourth = (unpack(outcome.data)[0]["xmatches"] for outcome in outcomes)
    assert first == {"allwise": {"angDist": 0.25, "designation": "J1", "w1mpro": 10.5, "cntr": "9007199254740993"}}
    assert second is third is None
    assert fourth == {"allwise": {"angDist": 1.25, "designation": "J2", "w1mpro": None, "cntr": "7"}}


def test_every_alert_is_matched_by_its_own_position():
    run = step()
    data = pack([small_alert(1, dec=dec) for dec in (-6.0, -5.0, 0.0, -6.0)])
    (outcome,) = run.process([run.decode(data)])
    found = [record["xmatches"] and record["xmatches"]["allwise"]["designation"] for record in unpack(outcome.data)]
    assert found == ["J2", "J1", None, "J2"]


def test_bad_positions_are_rejected_and_the_rest_goes_on():
    run = step()
    positions = [(1, -5), (math.nan, 0), (1, 91), (math.inf, 0), (800, 0), (1, math.nan), (2, -6)]
    packet = run.decode(pack([small_alert(i, ra, dec) for i, (ra, dec) in enumerate(positions)]))
    (outcome,) = run.process([packet])
    assert outcome.status.tolist() == [MATCHED, *[REJECTED] * 5, MATCHED]
    assert [record["candid"] for record in unpack(outcome.data)] == [0, 6]
    reasons = {number: str(error) for number, error in outcome.rejects.items()}
    assert sorted(reasons) == [1, 2, 3, 4, 5]
    assert "record 1: cannot be matched: right ascension is missing, NaN or infinite" in reasons[1]
    assert "declination outside" in reasons[2]
    assert "right ascension outside" in reasons[4]


def test_a_packet_without_one_good_alert_gives_nothing():
    run = step()
    outcomes = list(run.process([run.decode(pack([small_alert(1, math.nan)])), run.decode(pack([small_alert(2)]))]))
    assert outcomes[0].data is None
    assert list(outcomes[0].rejects) == [0]
    assert outcomes[1].status.tolist() == [MATCHED]


def test_positions_are_matched_in_bounded_batches():
    matcher = stand_in()
    run = step(matcher)
    packets = [run.decode(pack([small_alert(i) for i in range(7)])), run.decode(pack([small_alert(9)]))]
    outcomes = list(run.process(packets, 3))
    assert matcher.batches == [3, 3, 2]
    assert [len(outcome.status) for outcome in outcomes] == [7, 1]
    assert all(record["xmatches"] for outcome in outcomes for record in unpack(outcome.data))


def test_nothing_in_nothing_out():
    matcher = stand_in()
    run = step(matcher)
    assert list(run.process([])) == []
    (outcome,) = run.process([run.decode(pack([]))])
    assert unpack(outcome.data) == []
    assert matcher.batches == []


class Two(StandIn):
    """Two catalogues: the second has only the row at declination -6, and covers all below 85 degrees."""

    def __init__(self):
        super().__init__(ROWS, [-5.0, -6.0], name="a")
        other = StandIn(ROWS.slice(1), [-6.0], name="b", outside=85.0)
        self.targets += other.targets
        self._other = other

    def match(self, ra, dec):
        own = super().match(ra, dec)["a"]
        return {"a": own, "b": self._other.match(ra, dec)["b"]}


def test_several_catalogues():
    run = step(Two())
    assert run.names == ("a", "b")
    packet = run.decode(pack([small_alert(i, dec=dec) for i, dec in enumerate((-5.0, -6.0, 0.0, 82.0, 88.0, 99.0))]))
    (outcome,) = run.process([packet])
    assert [sorted(record["xmatches"] or {}) for record in unpack(outcome.data)] == [["a"], ["a", "b"], [], [], []]
    assert outcome.by_catalog["a"].tolist() == [MATCHED, MATCHED, UNMATCHED, OUTSIDE, OUTSIDE, REJECTED]
    assert outcome.by_catalog["b"].tolist() == [UNMATCHED, MATCHED, UNMATCHED, UNMATCHED, OUTSIDE, REJECTED]
    assert outcome.status.tolist() == [MATCHED, MATCHED, UNMATCHED, OUTSIDE, OUTSIDE, REJECTED]


def test_a_search_that_fails_is_never_unmatched():
    class Broken(StandIn):
        def match(self, ra, dec):
            raise PartitionReadError("cannot be read", place="Npix=5.parquet")

    run = step(Broken(ROWS, []))
    with pytest.raises(PartitionReadError):
        run.process([run.decode(pack([small_alert()]))])


def test_columns_without_a_form_stop_it_before_it_starts():
    rows = pa.table({"shape": pa.array([[1.0]], pa.list_(pa.float64()))})
    with pytest.raises(UsageError, match="shape"):
        step(StandIn(rows, []))


def test_an_alert_that_has_no_place_in_the_output_is_rejected():
    class Picky(InputOutput):
        def begin(self, packet):
            header, encode = super().begin(packet)
            if len(packet.alerts) == 1:
                raise PacketError("not this packet")

            def picky(alert, union):
                if alert.candid == 1:
                    raise PacketError("not this alert")
                return encode(alert, union)

            return header, picky

    run = step(output=Picky())
    packets = [run.decode(pack([small_alert(i) for i in range(3)])), run.decode(pack([small_alert(0)]))]
    first, second = run.process(packets)
    assert first.status.tolist() == [MATCHED, REJECTED, MATCHED]
    assert first.by_catalog["allwise"].tolist() == [MATCHED, REJECTED, MATCHED]
    assert [record["candid"] for record in unpack(first.data)] == [0, 2]
    assert second.data is None
    assert second.status.tolist() == [REJECTED]
    assert str(second.rejects[0]) == "not this packet"


def test_nulled_values_are_counted_by_catalogue():
    rows = pa.table({"flux": [1e300, float("inf")]})
    run = step(StandIn(rows, [-5.0, -6.0]))
    run.process([run.decode(pack([small_alert(i, dec=dec) for i, dec in enumerate((-5.0, -6.0))]))])
    assert run.nulled == {"allwise": 2}
