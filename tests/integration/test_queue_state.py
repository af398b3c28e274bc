"""Each rule about a queue's state says in MongoDB what it says in Python, whatever the fields that it reads hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from queues.fleet import Fleet, Offer
from queues.models import Queue
from queues.state import (
    ATTEMPTS_ARE_FAILING,
    CONDITIONS,
    Condition,
    Context,
    State,
    attempts_are_failing,
    conditions_of,
    matching,
    state_expression,
    state_of,
    unserved_reason,
)
from queuesite.foundation.databases import collection, database, database_clock
from queuesite.foundation.documents import to_document, to_models

pytestmark = pytest.mark.usefixtures("mongo")

#: The document lacks the field.
MISSING = object()


def documents(**values: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """A queue's document for each combination of these fields' values."""
    plain = to_document(Queue(name="", queue_url=""))
    for combination in itertools.product(*values.values()):
        key = ObjectId()
        fields = dict(zip(values, combination, strict=True))
        document = {**plain, "_id": key, "name": str(key), "queueUrl": f"http://sqs/{key}", **fields}
        yield {name: value for name, value in document.items() if value is not MISSING}


def answers(made: list[dict[str, Any]], questions: Mapping[str, Any]) -> dict[ObjectId, dict[str, Any]]:
    """MongoDB's answer to each of these expressions for each document."""
    plain = database()["plain"]  # without the indexes of queues, which take longer than the questions
    plain.insert_many(made)
    found = {row.pop("_id"): row for row in plain.aggregate([{"$project": dict(questions)}])}
    plain.drop()
    return found


def test_states_are_the_same_for_python_and_mongodb() -> None:
    now = database_clock.now()
    past, future = now - timedelta(seconds=1), now + timedelta(seconds=1)
    free, assigned = (
        list(
            documents(
                paused=(False, True, MISSING),
                notBefore=(None, MISSING, now, future),
                depthVisible=(0, 1, MISSING),
                wakeRequestedAt=(None, MISSING, now),
                servedUntil=(None, MISSING, past, now, future),
            )
        )
        for _ in range(2)
    )
    context = Context(now, frozenset(one["_id"] for one in assigned))
    together = [*free, *assigned]
    wanted = {queue.id: {"state": state_of(queue, context)} for queue in to_models(Queue, together)}
    assert len(wanted) == 2 * 3 * 4 * 3 * 3 * 5
    assert {row["state"] for row in wanted.values()} == set(State) - {State.UNSERVED}
    assert answers(together, {"state": state_expression(context)}) == wanted


#: What workers may announce; the last one is of an earlier release.
OFFERS = (Offer("default", {"log": "1"}), Offer("gpu", {"log": "1", "resize": "2"}), Offer("gpu", {}), Offer())


@pytest.mark.parametrize("count", range(len(OFFERS) + 1))
def test_who_can_be_served_is_the_same_for_python_and_mongodb(count: int) -> None:
    now = database_clock.now()
    free, assigned = (
        list(
            documents(
                handler=("log", "resize", "gone", MISSING),
                pool=(None, MISSING, "default", "gpu", "night"),
                paused=(False, True),
                notBefore=(None, now + timedelta(seconds=1)),
            )
        )
        for _ in range(2)
    )
    together = [*free, *assigned]
    questions: dict[str, Any] = {}
    wanted: dict[ObjectId, dict[str, Any]] = {}
    for number, offers in enumerate(itertools.combinations(OFFERS, count)):
        context = Context(now, frozenset(one["_id"] for one in assigned), fleet=Fleet(offers))
        questions[f"of{number}"] = state_expression(context)
        for queue in to_models(Queue, together):
            wanted.setdefault(queue.id, {})[f"of{number}"] = state_of(queue, context)
            reason = context.fleet.reason(queue.handler, queue.pool)
            unserved = reason is not None and not queue.paused and queue.id not in context.assigned
            assert (state_of(queue, context) is State.UNSERVED) == unserved
            assert unserved_reason(queue, context) == (reason if unserved else None)
    assert len(wanted) == 2 * 4 * 5 * 2 * 2
    assert answers(together, questions) == wanted
    states = {state for row in wanted.values() for state in row.values()}
    assert (State.UNSERVED in states) == (count > 0)


def test_conditions_are_the_same_for_python_and_mongodb() -> None:
    well, failing = (
        list(
            documents(
                paused=(False, True, MISSING),
                vanishedAt=(None, database_clock.now(), MISSING),
                depthVisible=(0, 1, MISSING),
                crashCount=(0, 1, 2, MISSING),
                deadLetters=(0, 1, MISSING),
            )
        )
        for _ in range(2)
    )
    attempts = {one["_id"]: (1, 0) for one in failing}
    context = Context(database_clock.now(), frozenset(), attempts)
    # A rule of its own, which reads nothing else: with the others it would triple them.
    tripped = list(documents(tripCount=(0, 1, MISSING)))
    together = [*well, *failing, *tripped]
    wanted = {
        queue.id: {condition.name: condition in conditions_of(queue, context) for condition in Condition}
        for queue in to_models(Queue, together)
    }
    assert len(wanted) == 2 * 3 * 3 * 3 * 4 * 3 + 3
    for condition in Condition:
        assert {row[condition.name] for row in wanted.values()} == {False, True}, condition
    questions = {condition.name: rule.expression(context) for condition, rule in CONDITIONS.items()}
    assert answers(together, questions) == wanted


def test_failing_is_the_same_for_python_and_mongodb() -> None:
    counts = {ObjectId(): pair for pair in itertools.product(range(12), (0, 1, 8, 9, 10, 11, 89, 90, 91, 99))}
    made = [{"_id": key, "failed": failed, "processed": processed} for key, (failed, processed) in counts.items()]
    wanted = {key: {"failing": attempts_are_failing(*pair)} for key, pair in counts.items()}
    assert answers(made, {"failing": ATTEMPTS_ARE_FAILING}) == wanted


def test_a_list_is_filtered_by_the_same_rules() -> None:
    made = list(documents(paused=(False, True), depthVisible=(0, 1), deadLetters=(0, 1), handler=("log", "resize")))
    fleet = Fleet(OFFERS[:1])
    context = Context(database_clock.now(), frozenset({made[0]["_id"]}), {made[1]["_id"]: (1, 0)}, fleet)
    collection(Queue).insert_many(made)
    queues = to_models(Queue, made)
    everything: list[State | Condition] = [*State, *Condition]
    for what in everything:
        found = {one["_id"] for one in collection(Queue).find(matching(what, context))}
        assert found == {q.id for q in queues if what in (state_of(q, context), *conditions_of(q, context))}, what


def test_who_did_not_count_failing_queues_is_told() -> None:
    with pytest.raises(ValueError, match="without the failing queues"):
        conditions_of(Queue(), Context(database_clock.now(), frozenset()))
