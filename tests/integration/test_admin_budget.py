"""Pages of the admin ask the databases as often with thousands of queues as with a few.

Times are printed (`-s`) and not asserted: docs/admin.md has them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest
from bson import ObjectId
from django.core.cache import cache
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.models import EndReason, Job, JobStatus
from jobs.throughput_models import Throughput
from queues.models import Queue
from queuesite.foundation.databases import collection, database_clock
from queuesite.foundation.documents import to_document
from tests.support import records
from tests.support.mongo_queries import counted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

#: What the suite has time to make on the embedded server; the whole, which takes minutes there:
#: BUDGET_QUEUES=10000 BUDGET_JOBS=100000 pytest -s --timeout 900 tests/integration/test_admin_budget.py
QUEUES = int(os.environ.get("BUDGET_QUEUES", "300"))
JOBS = int(os.environ.get("BUDGET_JOBS", "200"))
#: Queues that something was done with in each of the last sixty minutes.
BUSY = 5
#: Queries to anything that a page may make.
BUDGET = 60

PAGES = {
    "overview": reverse("admin:index"),
    "queues": reverse("admin:queues_queue_changelist"),
    "jobs": reverse("admin:jobs_job_changelist"),
}


def store(model: type[models.Model], instances: Sequence[models.Model]) -> None:
    """By the thousand: the embedded server takes its time."""
    for place in range(0, len(instances), 1_000):
        collection(model).insert_many([to_document(one) for one in instances[place : place + 1_000]], ordered=False)


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
    store(Queue, made)
    ran = []
    for place in range(jobs):
        queue, begun = made[place % len(made)], now - timedelta(seconds=4 * place)
        ran.append(
            Job(
                id=ObjectId(), queue_name=queue.name, queue_url=queue.queue_url, queue_id=queue.id,
                status=JobStatus.COMPLETED, message_count=place % 100, end_reason=EndReason.DRAINED,
                created_at=begun, started_at=begun, ended_at=begun + timedelta(seconds=3), last_modified=now,
                processor={"workerId": "w1", "consumerPid": 1},
            )
        )  # fmt: skip
    store(Job, ran)
    this_minute = now.replace(second=0, microsecond=0)
    minutes = [this_minute - timedelta(minutes=back) for back in range(60)]
    store(Throughput, [
        Throughput(
            id=f"{queue.id}-{place}", queue_id=queue.id, queue_name=queue.name, minute=minute, processed=60,
            durations={"b1": 60}, duration_sum=0.5, expires_at=minute + timedelta(days=7),
        )
        for queue in made[:BUSY] for place, minute in enumerate(minutes)
    ])  # fmt: skip


def look(client: Client, page: str) -> tuple[int, list[str], float]:
    """The queries to the relational database, the operations of MongoDB, and the seconds of a second look."""
    assert client.get(page).status_code == 200  # what a process asks for once is not the page's
    cache.clear()
    with CaptureQueriesContext(connection) as relational, counted() as operations:
        assert client.get(page).status_code == 200
        queries = len(relational)  # before the next request, which begins the list anew
    began = time.perf_counter()
    client.get(page)
    return queries, operations, time.perf_counter() - began


def test_pages_ask_no_more_of_thousands_of_queues_than_of_twenty(admin_client: Client) -> None:
    records.register()
    fill(20, 50)
    few = {name: look(admin_client, page) for name, page in PAGES.items()}
    fill(QUEUES - 20, JOBS - 50)
    for name, page in PAGES.items():
        relational, operations, seconds = look(admin_client, page)
        print(f"{name}: {relational} + {len(operations)} queries, {1_000 * seconds:.0f} ms")  # noqa: T201
        assert relational <= few[name][0], name
        assert len(operations) <= len(few[name][1]), (name, sorted(operations), sorted(few[name][1]))
        assert relational + len(operations) < BUDGET, name
