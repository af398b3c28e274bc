"""Leadership with a clock of the test's own: when a lease is renewed, and for how long it is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from jobs.master import leadership
from jobs.master.leadership import TRUSTED_SHARE, Leadership
from queuesite.databases import MongoError

TTL = 6.0


@dataclass
class Leases:
    """The repository, with answers of the test's choice. Every call takes `latency` seconds."""

    now: float = 1_000.0
    latency: float = 0.0
    free: bool = True
    ours: int | None = None
    next_term: int = 1
    fails: bool = False
    calls: list[str] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.now += self.latency
        if self.fails:
            raise MongoError("the connection broke")

    def acquire(self, holder: str, ttl: float) -> int | None:
        self._call("acquire")
        if not self.free:
            return None
        self.ours, self.next_term = self.next_term, self.next_term + 1
        return self.ours

    def renew(self, holder: str, term: int, ttl: float) -> bool:
        self._call("renew")
        return term == self.ours

    def resign(self, holder: str, term: int) -> bool:
        self._call("resign")
        mine, self.ours = term == self.ours, None
        return mine


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> Leases:
    fake = Leases()
    monkeypatch.setattr(leadership, "leases", fake)
    return fake


@pytest.fixture
def master(leases: Leases) -> Leadership:
    return Leadership("m1", TTL, leases.monotonic)


def test_it_does_not_lead_before_it_has_tried(master: Leadership) -> None:
    assert master.term is None
    assert master.next_attempt < 0


def test_it_wins_a_free_lease_and_renews_it_from_then_on(master: Leadership, leases: Leases) -> None:
    assert master.attempt() == 1
    assert master.term == 1
    leases.now += 2
    assert master.attempt() == 1
    assert leases.calls == ["acquire", "renew"]


def test_it_stands_by_while_another_has_the_lease(master: Leadership, leases: Leases) -> None:
    leases.free = False
    assert master.attempt() is None
    assert master.term is None


def test_it_is_trusted_for_less_than_its_life(master: Leadership, leases: Leases) -> None:
    began = leases.now
    master.attempt()
    terms = []
    for moment in (began + TTL * TRUSTED_SHARE - 0.001, began + TTL * TRUSTED_SHARE):
        leases.now = moment
        terms.append(master.term)
    assert terms == [1, None]
    assert TRUSTED_SHARE < 1


def test_trust_is_counted_from_when_the_attempt_began(master: Leadership, leases: Leases) -> None:
    leases.latency = 3.0
    began = leases.now
    master.attempt()
    leases.now = began + TTL * TRUSTED_SHARE
    assert master.term is None


def test_an_attempt_that_took_too_long_wins_nothing(master: Leadership, leases: Leases) -> None:
    leases.latency = TTL
    assert master.attempt() is None
    assert master.term is None


def test_each_renewal_prolongs_the_trust(master: Leadership, leases: Leases) -> None:
    master.attempt()
    for _ in range(10):
        leases.now += TTL / 3
        assert master.attempt() == 1
    leases.now += TTL * TRUSTED_SHARE - 0.001
    assert master.term == 1


def test_renewal_is_due_at_a_third_of_the_life_with_jitter(master: Leadership, leases: Leases) -> None:
    pauses = set()
    for _ in range(200):
        master.attempt()
        pauses.add((master.next_attempt - leases.now) / (TTL / 3))
    assert 0.85 <= min(pauses) < 0.87
    assert 0.98 < max(pauses) <= 1.0
    # Two attempts may fail before the lease is not trusted any more.
    assert 2 * max(pauses) / 3 < TRUSTED_SHARE


def test_an_unknown_outcome_counts_as_lost(master: Leadership, leases: Leases) -> None:
    master.attempt()
    leases.fails = True
    with pytest.raises(MongoError):
        master.attempt()
    assert master.term is None
    leases.fails = False
    assert master.attempt() == 2, "a term that may be another's is not gone on with"
    assert leases.calls == ["acquire", "renew", "acquire"]


def test_a_lease_that_was_taken_away_is_tried_for_anew(master: Leadership, leases: Leases) -> None:
    master.attempt()
    leases.ours, leases.free, leases.next_term = None, False, 5
    assert master.attempt() is None
    assert master.term is None
    leases.free = True
    assert master.attempt() == 5


def test_resigning_gives_up_its_own_term(master: Leadership, leases: Leases) -> None:
    master.attempt()
    master.resign()
    assert master.term is None
    assert leases.ours is None


def test_a_standby_has_nothing_to_resign(master: Leadership, leases: Leases) -> None:
    leases.free = False
    master.attempt()
    master.resign()
    assert leases.calls == ["acquire"]


def test_a_lease_that_was_resigned_hurries_a_standby_and_not_the_leader(master: Leadership, leases: Leases) -> None:
    leases.free = False
    master.attempt()
    master.lease_changed()
    assert master.next_attempt < leases.now
    leases.free = True
    master.attempt()
    master.lease_changed()
    assert master.next_attempt > leases.now
