"""Reads of the records of processing, shared by the admin, the API, the command line and the metrics.

Functions raise `NotFound`, `InvalidInput` and `MongoUnavailable`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from jobs import services
from jobs.models import Assignment, Departure, Failure, Job, JobStatus, Lease, Master, Worker
from jobs.placement import context_of
from jobs.repositories import assignments, failures, jobs, leases, listening, masters, workers
from jobs.shared import shared
from queues.health.figures import Oldest, oldest_message, seconds_to_drain
from queues.health.rules import UNHEALTHY, Health, HealthSelection, Problem, problems_of
from queues.models import Queue
from queues.state import Context, Selection, State, state_of, unserved_reason
from queuesite.foundation.databases import database_clock
from queuesite.foundation.documents import containing
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.foundation.pages import Cursor, cut


def find_jobs(
    *,
    queue: str | None = None,
    status: str | None = None,
    worker: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Job], str | None]:
    """A page of the jobs that match, the newest first, and the cursor of the next.

    They were created at `since` or later, and before `until`. An index answers every page of each single filter, and of
    queue and status together, however many jobs there are.
    """
    if status is not None and status not in JobStatus.values:
        raise InvalidInput(f"status {status!r}: expected one of {', '.join(JobStatus.values)}", field="status")
    named = {"queueName": queue, "status": status, "processor.workerId": worker}
    after = None if cursor is None else Cursor.decode(cursor, datetime)
    found = jobs.newest(
        {name: value for name, value in named.items() if value is not None},
        limit + 1,
        since=since,
        until=until,
        behind=None if after is None else (after.value, after.id),
    )
    return cut(found, limit, lambda job: Cursor(job.created_at, job.id))


#: Jobs are counted up to this many: no page waits until a hundred thousand are counted.
MOST_COUNTED = 1_000


def count_jobs(
    *,
    queue: str | None = None,
    worker: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[JobStatus, int]:
    """How many jobs match in each status, counted up to one more than MOST_COUNTED."""
    named = {name: value for name, value in (("queueName", queue), ("processor.workerId", worker)) if value is not None}
    return {
        status: jobs.count({**named, "status": status.value}, MOST_COUNTED + 1, since=since, until=until)
        for status in JobStatus
    }


def job(job_id: ObjectId) -> Job:
    """The job of this id."""
    return jobs.by_id(job_id)


#: What kinds of failure may be narrowed down to.
FAILURE_KINDS = {"failure": failures.FAILURES, "retry": failures.RETRIES}


def find_failures(
    *, queue: str | None = None, kind: str | None = None, cursor: str | None = None, limit: int = 50
) -> tuple[list[Failure], str | None]:
    """A page of the kinds of failure (of one queue), the last seen first, and the cursor of the next.

    `kind` is `failure` or `retry` (reasons for which handlers ask for retries); None: both.
    """
    filters: list[dict[str, Any]] = [] if queue is None else [{"queueName": queue}]
    if kind is not None:
        if kind not in FAILURE_KINDS:
            raise InvalidInput(f"kind {kind!r}: expected one of {', '.join(FAILURE_KINDS)}", field="kind")
        filters.append(FAILURE_KINDS[kind])
    if cursor is not None:
        filters.append(Cursor.decode(cursor, datetime).behind("lastSeenAt", descending=True))
    found = failures.newest({"$and": filters} if filters else {}, limit + 1)
    return cut(found, limit, lambda failure: Cursor(failure.last_seen_at, failure.id))


def failure_counts(queue: str | None = None) -> tuple[int, int]:
    """How many kinds of failure and of retries there are (of one queue)."""
    return failures.counts(queue)


def failure(failure_id: ObjectId) -> Failure:
    """The kind of failure of this id."""
    return failures.by_id(failure_id)


def failures_like(text: str, limit: int) -> list[Failure]:
    """Up to `limit` kinds of failure whose exception, error or queue contains a text or whose last message it names."""
    fields = ("exceptionType", "message", "queueName")
    return failures.newest({"$or": [*({name: containing(text)} for name in fields), {"messageId": text}]}, limit)


#: Hours that the history of a kind of failure goes back.
FAILURE_HOURS = 24


def hourly_failures(kinds: Sequence[Failure]) -> dict[ObjectId, list[int]]:
    """How often each of these kinds came up in each of the last 24 hours, the current one last."""
    last = database_clock.now().replace(minute=0, second=0, microsecond=0)
    first = last - (FAILURE_HOURS - 1) * failures.HOUR
    rows = failures.hourly(kinds, first)
    counts = {(kind.queue_url, kind.fingerprint): [0] * FAILURE_HOURS for kind in kinds}
    for row in rows:
        hours = counts.get((row.queue_url, row.fingerprint))
        if hours is not None and row.hour <= last:
            hours[(row.hour - first) // failures.HOUR] += row.count
    return {kind.id: counts[kind.queue_url, kind.fingerprint] for kind in kinds}


def find_assignments(*, queue_url: str | None = None, worker: str | None = None) -> list[Assignment]:
    """The assignments that match, the oldest first. There are never more than the capacity of all workers."""
    found = assignments.all_assignments()
    return [a for a in found if queue_url in (None, a.queue_url) and worker in (None, a.worker)]


def load_by_worker() -> Counter[str]:
    """How many assignments each worker holds."""
    return Counter(assignment.worker for assignment in find_assignments())


def worker(worker_id: str) -> Worker:
    """The worker of this id."""
    found = next((one for one in services.list_workers() if one.worker_id == worker_id), None)
    if found is None:
        raise NotFound(f"there is no worker {worker_id[:200]!r}; it has ended, or was never there")
    return found


def listened_queues() -> frozenset[ObjectId]:
    """The queues that workers listen to."""
    return listening.queue_ids()


def listener_of(queue_url: str) -> str | None:
    """The worker that listens to a queue, or None."""
    found = listening.of_queue(queue_url)
    return None if found is None else found.worker


def leader() -> Lease | None:
    """The lease of the master that leads, or None."""
    return leases.leader()


def departures(limit: int = 50) -> list[Departure]:
    """The workers that left last, the latest first; they are kept as long as jobs are."""
    return workers.departures(limit)


def slots_wanted(lease: Lease | None) -> dict[str, int] | None:
    """The consumers that the queues want, by pool, as the last heartbeat of the lease's holder had it, or None."""
    led = None if lease is None else next((one for one in find_masters() if one.master_id == lease.holder), None)
    return None if led is None else led.slots_wanted


def find_masters() -> list[Master]:
    """The live masters, leading or standing by, the oldest first."""
    return masters.present()


def queue_context(found: Iterable[Assignment] | None = None, *, present: Iterable[Worker] | None = None) -> Context:
    """What states and health of queues depend on besides the queues.

    `found`, `present`: all assignments and workers, if they have been read already.
    """
    held = list(find_assignments() if found is None else found)
    now = database_clock.now()
    live = [one for one in (services.list_workers() if present is None else present) if services.is_alive(one, now)]
    return context_of(held, live, now)


def selections(
    *, health: str | None = None, state: str | None = None, context: Context | None = None
) -> list[Selection | HealthSelection]:
    """The queues in a state, or with a problem (`unhealthy`: any), at this moment; those without any are `healthy`.

    `context`: if it has been read.
    """
    if health is None and state is None:
        return []
    context = queue_context() if context is None else context
    found: list[Selection | HealthSelection] = []
    if state is not None:
        found.append(Selection(State(state), context))
    if health is not None:
        found.append(HealthSelection(None if health == UNHEALTHY else Health(health), context))
    return found


@dataclass(frozen=True)
class Activity:
    """What a queue does, how it is, who processes it, and its newest job."""

    state: State
    #: Why no worker can serve it; None unless that is its state.
    unserved: str | None
    assignments: Sequence[Assignment]
    last_job: Job | None
    #: All that is wrong with it, the worst first.
    problems: Sequence[Problem] = ()
    oldest: Oldest | None = None
    #: For how many seconds its messages last at the pace of the last minutes; None: nothing was processed.
    drain_seconds: float | None = None

    @property
    def health(self) -> Health:
        """The worst of what is wrong with it."""
        return self.problems[0].health if self.problems else Health.HEALTHY


def activity(
    queues: Iterable[Queue],
    *,
    with_jobs: bool = True,
    found: Sequence[Assignment] | None = None,
    context: Context | None = None,
) -> dict[ObjectId, Activity]:
    """The activity of each of these queues; without their newest jobs if nobody asks for them.

    `found`, `context`: all assignments, and what was made of them, if they have been read.
    """
    wanted = list(queues)
    if not wanted:
        return {}
    found = find_assignments() if found is None else found
    context = queue_context(found) if context is None else context
    running: dict[ObjectId, list[Assignment]] = {queue.id: [] for queue in wanted}
    for assignment in found:
        if assignment.queue_id in running:
            running[assignment.queue_id].append(assignment)
    names = tuple(queue.name for queue in wanted)
    last = shared("newest jobs", lambda: jobs.newest_of(names), names) if with_jobs else {}
    return {
        queue.id: Activity(
            state_of(queue, context),
            unserved_reason(queue, context),
            running[queue.id],
            last.get(queue.name),
            problems_of(queue, context),
            oldest_message(queue, context),
            seconds_to_drain(queue, context),
        )
        for queue in wanted
    }
