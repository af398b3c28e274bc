"""The verdict of the chaos run: what it accepts, and that it finds what it is there to find."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.verdict import Ending, Fault, Record, judge
from tests.support.ledger import Event, Sent

PID, WORKER = 100, 50


def sent(key: str, group: str | None = None) -> Sent:
    return Sent(key, "q", group, 0.0)


def event(kind: str, key: str, at: float, *, pid: int = PID, receives: int = 1, **what: Any) -> Event:
    return Event(kind, "q", f"id-{key}", json.dumps({"n": key, "do": what}), pid, at, receives, 1)


def handling(key: str, at: float, *, pid: int = PID, receives: int = 1, took: float = 0.1) -> list[Event]:
    return [
        event("start", key, at, pid=pid, receives=receives),
        event("end", key, at + took, pid=pid, receives=receives),
    ]


def record(**changes: Any) -> Record:
    """Two messages, each handled once, and nothing that happened to them."""
    kept = Record(
        sent=[sent("1"), sent("2")], events=[*handling("1", 1), *handling("2", 2)], dead=set(), faults=[], workers={}
    )
    return replace(kept, **changes)


def test_all_is_well() -> None:
    verdict = judge(record())
    assert verdict.problems == []
    assert (verdict.counts["sent"], verdict.counts["handled"], verdict.counts["handled twice"]) == (2, 2, 0)


def test_a_message_is_lost() -> None:
    assert judge(record(events=handling("1", 1))).problems == ["1 lost: 2"]


def test_a_dead_letter_is_not_lost() -> None:
    failed = [event("start", "2", 1), event("fail", "2", 2)]
    verdict = judge(record(events=[*handling("1", 1), *failed], dead={"2"}))
    assert verdict.problems == []
    assert verdict.counts["dead letters of faults alone"] == 1


def test_a_dead_letter_that_no_handler_saw_is_a_broken_promise() -> None:
    (problem,) = judge(record(events=handling("1", 1), dead={"2"})).problems
    assert problem == "1 dead-lettered, and no handler saw them: 2"


def test_but_faults_may_use_up_the_receives_of_a_queue_that_has_few() -> None:
    verdict = judge(record(events=handling("1", 1), dead={"2"}, few_receives={"q"}))
    assert verdict.problems == []
    assert verdict.counts["dead letters that no handler saw"] == 1


def test_a_message_whose_send_had_no_answer_may_be_there_or_not() -> None:
    unsure = replace(sent("3"), certain=False)
    for events in (record().events, [*record().events, *handling("3", 3)]):
        assert judge(record(sent=[sent("1"), sent("2"), unsure], events=events)).problems == []


def test_what_was_handled_was_never_sent() -> None:
    (problem,) = judge(record(sent=[sent("1")])).problems
    assert problem == "1 handled or dead, but never sent: 2"


def test_a_message_that_can_only_be_rejected_was_handled() -> None:
    events = [event("start", "1", 1, reject="no"), event("end", "1", 2, reject="no"), *handling("2", 2)]
    (problem,) = judge(record(events=events)).problems
    assert "never can be" in problem


class TestRepetitions:
    twice = (*handling("1", 1), *handling("2", 2), *handling("1", 6, pid=101, receives=2))

    def problems(self, *faults: Fault, workers: dict[int, int] | None = None) -> list[str]:
        return judge(record(events=self.twice, faults=faults, workers=workers or {})).problems

    def test_without_a_fault_none_is_accepted(self) -> None:
        (problem,) = self.problems()
        assert problem.startswith("1 handled twice without a fault: 1 ")

    def test_a_fault_of_all_consumers_explains_it(self) -> None:
        verdict = judge(record(events=self.twice, faults=[Fault("sqs cut", 1.05, 1.5, repeats=True)]))
        assert verdict.problems == []
        assert verdict.repeated == {"sqs cut": 1}

    @pytest.mark.parametrize("began", [-20.0, 4.5])
    def test_not_one_of_another_time(self, began: float) -> None:
        assert self.problems(Fault("sqs cut", began, began + 1, repeats=True))

    def test_not_one_that_repeats_nothing(self) -> None:
        assert self.problems(Fault("mongodb cut", 1.05, 1.5))

    def test_the_death_of_its_consumer_or_worker_explains_it(self) -> None:
        assert not self.problems(Fault("kill", 1.2, 1.2, repeats=True, pids=frozenset({PID})))
        assert not self.problems(Fault("kill", 1.2, 1.2, repeats=True, pids=frozenset({WORKER})), workers={PID: WORKER})

    def test_not_the_death_of_another(self) -> None:
        assert self.problems(Fault("kill", 1.2, 1.2, repeats=True, pids=frozenset({999})), workers={PID: WORKER})

    def test_a_message_that_crashed_its_consumer_explains_it(self) -> None:
        crash = event("start", "2", 1.2, exit=3, times=1)
        events = [*handling("1", 1), crash, *handling("2", 5, pid=101, receives=2), *handling("1", 6, pid=101)]
        verdict = judge(record(events=events))
        assert verdict.problems == []
        assert verdict.repeated == {"crash of the consumer": 1}

    def test_a_handler_past_its_time_limit_may_come_to_its_end_twice(self) -> None:
        first = [event("start", "1", 1, slow=2.5, times=1), event("end", "1", 3.5, slow=2.5, times=1)]
        again = [replace(item, pid=101, receive_count=2, at=item.at + 5) for item in first]
        verdict = judge(record(events=[*first, *again, *handling("2", 2)]))
        assert verdict.problems == []
        assert verdict.repeated == {"time limit of the handler": 1}


class TestOrder:
    sent = (sent("1", "g"), sent("2", "g"))

    def problems(self, *events: Event, dead: frozenset[str] = frozenset()) -> list[str]:
        fault = Fault("kill", 0, 20, repeats=True)
        return judge(record(sent=self.sent, events=events, dead=dead, faults=[fault])).problems

    def test_in_order(self) -> None:
        assert not self.problems(*handling("1", 1), *handling("1", 2, receives=2), *handling("2", 3))

    def test_the_second_before_the_first(self) -> None:
        (problem,) = self.problems(*handling("2", 1), *handling("1", 2))
        assert problem.startswith("2 FIFO order broken")

    def test_the_second_while_the_first_is_handled(self) -> None:
        (problem,) = self.problems(*handling("1", 1, took=2), *handling("2", 2))
        assert problem == "1 FIFO order broken: 2 begun before 1 was done"

    def test_the_first_again_after_the_second(self) -> None:
        (problem,) = self.problems(*handling("1", 1), *handling("2", 2), *handling("1", 3, receives=2))
        assert problem == "1 FIFO order broken: 1 begun after 2"

    def test_after_a_dead_letter_the_group_goes_on(self) -> None:
        assert not self.problems(event("start", "1", 1), *handling("2", 9), dead=frozenset({"1"}))


class TestProcesses:
    @pytest.mark.parametrize(("told", "code"), [(None, 0), (None, 1), (None, -11), (15, 1), (15, -9), (9, 0)])
    def test_one_did_not_end_as_told(self, told: int | None, code: int) -> None:
        assert judge(record(endings=[Ending("worker", code, told)])).problems

    @pytest.mark.parametrize(("told", "code"), [(15, 0), (9, -9)])
    def test_one_did(self, told: int, code: int) -> None:
        assert not judge(record(endings=[Ending("worker", code, told)])).problems

    def test_one_that_was_ended_before_it_had_started(self) -> None:
        assert not judge(record(endings=[Ending("worker", -15, 15, started=False)])).problems
        assert judge(record(endings=[Ending("worker", -15, 15)])).problems
        assert judge(record(endings=[Ending("worker", 1, None, started=False)])).problems


def test_what_is_left_over_and_what_a_stale_leader_did_are_problems() -> None:
    verdict = judge(record(leftovers=["assignment of q"], stale=["q in term 3"]))
    assert verdict.problems == ["left over: assignment of q", "stale leader: q in term 3"]
