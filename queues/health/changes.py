"""Events that tell when a queue began to have a problem, and when it had it no more: one for each change.

A queue's document has what was told last (`toldProblems`, such as `failing stuck`) and as of when (`problemsToldAt`).
Whoever tells first compares and sets both; a process that judged by older facts than those told of does nothing. So two
masters never tell of a change twice, and one that was frozen does not tell of the past.
"""

from __future__ import annotations

from queues.events import EventKind, record
from queues.health.rules import PROBLEMS, Health, problems_of
from queues.models import Queue
from queues.state import Context, Expression
from queuesite.foundation.databases import Document, collection
from queuesite.foundation.documents import to_models

#: The problems that events tell of. The others follow from what somebody did, or come and go with every burst.
TOLD: dict[Health, EventKind] = {
    Health.CRASH_LOOPING: EventKind.QUEUE_CRASH_LOOPING,
    Health.TRIPPED: EventKind.QUEUE_TRIPPED,
    Health.FAILING: EventKind.QUEUE_FAILING,
    Health.STUCK: EventKind.QUEUE_STUCK,
}
#: Most queues that one call tells of.
MOST = 200

_TOLD: Expression = {"$ifNull": ["$toldProblems", ""]}


def tell(context: Context) -> int:
    """Record what has changed since it was told last; return how many queues that concerned, up to `MOST`.

    One pass over the collection, and a write for each change. Raises pymongo's errors.
    """
    present = {"$concat": [{"$cond": [PROBLEMS[one].expression(context), f"{one} ", ""]} for one in TOLD]}
    pipeline: list[Document] = [
        {"$set": {"present": present}},
        {"$match": {"$expr": {"$ne": ["$present", _TOLD]}}},
        {"$sort": {"_id": 1}},
        {"$limit": MOST},
    ]
    # A malformed queue is judged by nobody: it is left out, and counts as told.
    found = to_models(Queue, list(collection(Queue).aggregate(pipeline)), bounded=False)
    for queue in found:
        _tell(queue, context)
    return len(found)


def _tell(queue: Queue, context: Context) -> None:
    problems = {one.health: one for one in problems_of(queue, context) if one.health in TOLD}
    present = "".join(f"{one} " for one in TOLD if one in problems)
    known = {one for one in TOLD if one in queue.told_problems.split()}
    changed = collection(Queue).update_one(
        {
            "_id": queue.id,
            "$expr": {
                "$and": [
                    {"$eq": [_TOLD, queue.told_problems]},
                    {"$lt": [{"$ifNull": ["$problemsToldAt", None]}, context.now]},
                ]
            },
        },
        {"$set": {"toldProblems": present, "problemsToldAt": context.now}},
    )
    if not changed.modified_count:
        return
    for health, problem in problems.items():
        if health not in known:
            record(TOLD[health], queue=queue.name, more=problem.sentence)
    if gone := [one.label for one in TOLD if one in known - set(problems)]:
        record(EventKind.QUEUE_RECOVERED, queue=queue.name, more=" and ".join(gone))
