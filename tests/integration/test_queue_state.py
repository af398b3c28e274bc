"""Each rule about a queue's state says in MongoDB what it says in Python, whatever the fields that it reads hold."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from queues.fleet import Fleet, Offer
from queues.models import Queue
from queues.state import (
    Context,
    State,
    matching,
    state_expression,
    state_of,
    unserved_reason,
)
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_models
from tests.support.rules import MISSING, answers, documents

pytestmark = pytest.mark.usefixtures("mongo")


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


def test_a_list_is_filtered_by_the_same_rules() -> None:
    made = list(documents(paused=(False, True), depthVisible=(0, 1), handler=("log", "resize")))
    context = Context(database_clock.now(), frozenset({made[0]["_id"]}), Fleet(OFFERS[:1]))
    collection(Queue).insert_many(made)
    queues = to_models(Queue, made)
    for state in State:
        found = {one["_id"] for one in collection(Queue).find(matching(state, context))}
        assert found == {queue.id for queue in queues if state_of(queue, context) is state}, state
