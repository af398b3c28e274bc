"""Pages of the admin ask the databases as often with ten thousand queues as with a few.

Times are printed (`-s`) and not asserted: docs/admin.md has them.
"""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from bson import ObjectId
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.models import EndReason, Job, JobStatus
from jobs.repositories import throughput
from queues.models import Queue
from queuesite.databases import collection, database_clock
from queuesite.documents import to_document
from tests.support import records
from tests.support.mongo_queries import counted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

QUEUES = 10_000
JOBS = 100_000
#: Queues that something was done with in each of the last sixty minutes.
BUSY = 200
#: Queries to anything that a page may make.
BUDGET = 60

PAGES = {
    "overview": reverse("admin:index"),
    "queues": reverse("admin:queues_queue_changelist"),
    "jobs": reverse("admin:jobs_job_changelist"),
}


def fill(queues: int, jobs: int) -> None:
    """So many more of them, some in each state."""
    now = database_clock.now()
    first = collection(Queue).count_documents({})
    made = [
        Queue(
            id=ObjectId(), name=f"queue-{place:05}", queue_url=f"http://sqs/queue-{place:05}", created_at=now,
            depth_visible=place % 7 * 10, depth_observed_at=now - timedelta(seconds=place % 600),
            paused=place % 11 == 0, dead_letters=int(place % 13 == 0), crash_count=place % 17 // 15,
        )
        for place in range(first, first + queues)
    ]  # fmt: skip
    collection(Queue).insert_many([to_document(queue) for queue in made])
    batch = []
    for place in range(jobs):
        queue = made[place % len(made)]
        begun = now - timedelta(seconds=4 * place)
        batch.append(
            to_document(Job(
                id=ObjectId(), queue_name=queue.name, queue_url=queue.queue_url, queue_id=queue.id,
                status=JobStatus.COMPLETED, message_count=place % 100, end_reason=EndReason.DRAINED,
                created_at=begun, started_at=begun, ended_at=begun + timedelta(seconds=3), last_modified=now,
                processor={"workerId": "w1", "consumerPid": 1},
            ))
        )  # fmt: skip
    collection(Job).insert_many(batch)
    this_minute = now.replace(second=0, microsecond=0)
    throughput.add(
        throughput.Row(queue.id, queue.name, this_minute - timedelta(minutes=back), processed=60, durations=(0, 60))
        for queue in made[:BUSY]
        for back in range(60)
    )


def look(client: Client, page: str) -> tuple[int, list[str], float]:
    """The queries to the relational database, the operations of MongoDB, and the seconds of a second look."""
    assert client.get(page).status_code == 200  # what a process asks for once is not the page's
    cache.clear()
    with CaptureQueriesContext(connection) as relational, counted() as operations:
        assert client.get(page).status_code == 200
    began = time.perf_counter()
    client.get(page)
    return len(relational), operations, time.perf_counter() - began


def test_pages_ask_no_more_of_ten_thousand_queues_than_of_twenty(admin_client: Client) -> None:
    records.register()
    fill(20, 50)
    few = {name: look(admin_client, page) for name, page in PAGES.items()}
    fill(QUEUES - 20, JOBS - 50)
    for name, page in PAGES.items():
        relational, operations, seconds = look(admin_client, page)
        print(f"{name}: {relational} + {len(operations)} queries, {1_000 * seconds:.0f} ms")  # noqa: T201
        assert (relational, sorted(operations)) == (few[name][0], sorted(few[name][1])), name
        assert relational + len(operations) < BUDGET, name
