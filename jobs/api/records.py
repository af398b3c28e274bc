"""Jobs, assignments, workers and the leader."""

from __future__ import annotations

from typing import Annotated, Literal

from django.http import HttpRequest
from ninja import Query as Parameters
from ninja import Router
from pydantic import Field

from jobs import reads, services
from jobs.api.schemas import (
    AssignmentOut,
    FailureOut,
    FailureSummary,
    JobOut,
    LeaderOut,
    LeaseOut,
)
from jobs.api.worker_schemas import DrainedOut, WorkerOut, WorkerPatch
from queuesite.api.auth import needs
from queuesite.api.openapi import also, link
from queuesite.api.schemas import Moment, Out, Page, Paged, Query
from queuesite.foundation.databases import database_clock
from queuesite.foundation.documents import object_id

router = Router(by_alias=True)

QueueName = Annotated[str, Field(max_length=80)]
WorkerId = Annotated[str, Field(max_length=200)]


class JobQuery(Paged):
    """Which jobs to list."""

    queue: QueueName | None = Field(None, description="name of the queue")
    status: Literal["queued", "running", "completed", "failed", "abandoned"] | None = Field(
        None, description="only jobs with this status"
    )
    worker: WorkerId | None = Field(None, description="id of the worker")
    since: Moment | None = Field(None, description="created at this time or later")
    until: Moment | None = Field(None, description="created before this time")


@router.get("/jobs", response=Page[JobOut], auth=needs("jobs.view_job"), tags=["jobs"])
def list_jobs(request: HttpRequest, query: Parameters[JobQuery]) -> Page[JobOut]:
    """List the jobs, the newest first. They are kept for JOB_RETENTION_DAYS."""
    found, following = reads.find_jobs(
        queue=query.queue,
        status=query.status,
        worker=query.worker,
        since=query.since,
        until=query.until,
        cursor=query.cursor,
        limit=query.limit,
    )
    return Page(items=[JobOut.of(job) for job in found], next=following)


@router.get("/jobs/{job_id}", response=JobOut, auth=needs("jobs.view_job"), tags=["jobs"])
def read_job(request: HttpRequest, job_id: str) -> JobOut:
    """Read a job. Its counts are written every JOB_MAX_SECONDS; a running job's live counts are with its worker."""
    return JobOut.of(reads.job(object_id(job_id, "job")))


class FailureQuery(Paged):
    """Which failures to list."""

    queue: QueueName | None = Field(None, description="name of the queue")
    kind: Literal["failure", "retry"] | None = Field(
        None, description="only failures, or only reasons for which handlers ask for retries"
    )


_FIRST = {
    "read": link("read_failure", "items/0/id", "failure_id"),
    "delete": link("delete_failure", "items/0/id", "failure_id"),
}


@router.get(
    "/failures",
    response=Page[FailureSummary],
    auth=needs("jobs.view_failure"),
    tags=["failures"],
    openapi_extra=also(links={200: _FIRST}),
)
def list_failures(request: HttpRequest, query: Parameters[FailureQuery]) -> Page[FailureSummary]:
    """List the failures of handlers, grouped by kind, and the reasons of retries, the latest seen first."""
    found, following = reads.find_failures(queue=query.queue, kind=query.kind, cursor=query.cursor, limit=query.limit)
    return Page(items=[FailureSummary.of(failure) for failure in found], next=following)


@router.get("/failures/{failure_id}", response=FailureOut, auth=needs("jobs.view_failure"), tags=["failures"])
def read_failure(request: HttpRequest, failure_id: str) -> FailureOut:
    """Read a kind of failure, with the traceback and the message of its newest occurrence."""
    return FailureOut.of(reads.failure(object_id(failure_id, "failure")))


@router.delete("/failures/{failure_id}", response={204: None}, auth=needs("jobs.delete_failure"), tags=["failures"])
def delete_failure(request: HttpRequest, failure_id: str) -> None:
    """Forget a kind of failure. If it occurs again, it is counted from one."""
    services.delete_failure(object_id(failure_id, "failure"))


class AssignmentQuery(Query):
    """Which assignments to list."""

    queue_url: Annotated[str, Field(max_length=500)] | None = Field(None, description="of this queue")
    worker: WorkerId | None = Field(None, description="of this worker")


class AssignmentsOut(Out):
    """Assignments, the oldest first."""

    items: list[AssignmentOut]


@router.get("/assignments", response=AssignmentsOut, auth=needs("jobs.view_assignment"), tags=["workers"])
def list_assignments(request: HttpRequest, query: Parameters[AssignmentQuery]) -> AssignmentsOut:
    """List the assignments. There are never more than the capacity of all workers together."""
    found = reads.find_assignments(queue_url=query.queue_url, worker=query.worker)
    return AssignmentsOut(items=[AssignmentOut.of(assignment) for assignment in found])


class WorkersOut(Out):
    """Workers, the oldest first."""

    items: list[WorkerOut]


@router.get("/workers", response=WorkersOut, auth=needs("jobs.view_worker"), tags=["workers"])
def list_workers(request: HttpRequest) -> WorkersOut:
    """List the workers, with their load and the live counts of their consumers."""
    load = reads.load_by_worker()
    workers = services.list_workers()
    now = database_clock.now()
    return WorkersOut(items=[WorkerOut.of(worker, load[worker.worker_id], now) for worker in workers])


@router.get("/workers/{worker_id}", response=WorkerOut, auth=needs("jobs.view_worker"), tags=["workers"])
def read_worker(request: HttpRequest, worker_id: str) -> WorkerOut:
    """Read a worker."""
    return _worker(worker_id)


def _worker(worker_id: str) -> WorkerOut:
    worker = reads.worker(worker_id)
    now = database_clock.now()
    return WorkerOut.of(worker, len(reads.find_assignments(worker=worker_id)), now)


@router.patch("/workers/{worker_id}", response=WorkerOut, auth=needs("jobs.change_worker"), tags=["workers"])
def change_worker(request: HttpRequest, worker_id: str, payload: WorkerPatch) -> WorkerOut:
    """Give a running worker another capacity, until it ends.

    It follows at once. If more is running, the queues that it took last finish what is in flight and make room. 422 if
    its `capacityLimit` is lower, or null.
    """
    services.set_capacity(worker_id, payload.capacity)
    return _worker(worker_id)


@router.post("/workers/{worker_id}/drain", response=DrainedOut, auth=needs("jobs.change_worker"), tags=["workers"])
def drain_worker(request: HttpRequest, worker_id: str) -> DrainedOut:
    """Drain a worker: it takes no more queues, finishes what is in flight, and exits."""
    return DrainedOut(id=worker_id, draining=True, changed=services.drain_worker(worker_id))


@router.get("/leader", response=LeaderOut, auth=needs("jobs.view_lease"), tags=["workers"])
def read_leader(request: HttpRequest) -> LeaderOut:
    """Read which master leads."""
    lease = reads.leader()
    return LeaderOut(leader=None if lease is None else LeaseOut.of(lease))
