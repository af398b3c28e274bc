"""Events for the moments when a queue begins to have a problem, and when it has it no more: one for each change.

A queue's document has what was reported last (`reportedProblems`, such as `failing stuck`) and as of when
(`problemsReportedAt`). Whoever reports first compares and sets both; a process that judged by older facts does nothing.
So two masters never report a change twice, and one that was frozen does not report the past.
"""

from __future__ import annotations

from queues.events import EventKind, record
from queues.health.rules import PROBLEMS, Health, problems_of
from queues.models import Queue
from queues.state import Context, Expression
from queuesite.foundation.databases import Document, collection
from queuesite.foundation.documents import to_models

#: The problems that events report. The others follow from what somebody did, or come and go with every burst.
REPORTED: dict[Health, EventKind] = {
    Health.CRASH_LOOPING: EventKind.QUEUE_CRASH_LOOPING,
    Health.TRIPPED: EventKind.QUEUE_TRIPPED,
    Health.FAILING: EventKind.QUEUE_FAILING,
    Health.STUCK: EventKind.QUEUE_STUCK,
}
#: Most queues whose changes one call reports.
MOST = 200

_REPORTED: Expression = {"$ifNull": ["$reportedProblems", ""]}


def report(context: Context) -> int:
    """Record what has changed since the last report; return how many queues that concerned, up to `MOST`.

    One pass over the collection, and a write for each change. Raises pymongo's errors.
    """
    present = {"$concat": [{"$cond": [PROBLEMS[one].expression(context), f"{one} ", ""]} for one in REPORTED]}
    pipeline: list[Document] = [
        {"$set": {"present": present}},
        {"$match": {"$expr": {"$ne": ["$present", _REPORTED]}}},
        {"$sort": {"_id": 1}},
        {"$limit": MOST},
    ]
    # A malformed queue is judged by nobody: it is left out, and counts as reported.
    found = to_models(Queue, list(collection(Queue).aggregate(pipeline)), bounded=False)
    for queue in found:
        _report(queue, context)
    return len(found)


def _report(queue: Queue, context: Context) -> None:
    problems = {one.health: one for one in problems_of(queue, context) if one.health in REPORTED}
    present = "".join(f"{one} " for one in REPORTED if one in problems)
    known = {one for one in REPORTED if one in queue.reported_problems.split()}
    changed = collection(Queue).update_one(
        {
            "_id": queue.id,
            "$expr": {
                "$and": [
                    {"$eq": [_REPORTED, queue.reported_problems]},
                    {"$lt": [{"$ifNull": ["$problemsReportedAt", None]}, context.now]},
                ]
            },
        },
        {"$set": {"reportedProblems": present, "problemsReportedAt": context.now}},
    )
    if not changed.modified_count:
        return
    for health, problem in problems.items():
        if health not in known:
            record(REPORTED[health], queue=queue.name, more=problem.sentence)
    if gone := [one.label for one in REPORTED if one in known - set(problems)]:
        record(EventKind.QUEUE_RECOVERED, queue=queue.name, more=" and ".join(gone))
