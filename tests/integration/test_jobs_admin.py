"""The admin's plain pages of what processes the queues: every changelist opens, and nothing can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bson import ObjectId
from django.test import Client
from django.urls import reverse

from jobs.models import Assignment, EndReason, Job, Lease, Worker
from jobs.repositories import assignments, jobs, leases, workers
from queues import services
from queues.models import Queue

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(admin_client: Client, queues: SQSClient) -> Client:
    """Somebody who may do everything, and no queue."""
    return admin_client


def test_the_front_door_leads_to_the_admin(browser: Client) -> None:
    response = browser.get("/", follow=True)
    assert response.status_code == 200
    assert response.redirect_chain[-1][0] == reverse("admin:index")


@pytest.mark.parametrize("model", [Queue, Job, Assignment, Worker, Lease])
def test_every_changelist_opens_with_documents_in_it(browser: Client, model: type[Queue]) -> None:
    queue = services.create("orders")
    workers.register("worker-1", "host", 1, 5)
    leases.acquire("master-1", 5)
    (assignment,) = assignments.insert_many(
        [assignments.NewAssignment(queue.queue_url, queue.id, 0, "worker-1")], term=1
    )
    processor = jobs.Processor("worker-1", "host", 1, 2)
    jobs.create_many([(assignment, "orders", processor)])
    jobs.start(assignment.job_id, processor)
    jobs.complete(assignment.job_id, "worker-1", jobs.Counts(7, 1), EndReason.DRAINED)
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    page = browser.get(reverse(f"admin:{name}_changelist"))
    assert page.status_code == 200
    assert "1 " in page.content.decode()
    shown = model.objects.get()
    assert browser.get(reverse(f"admin:{name}_change", args=[shown.pk])).status_code == 200
    assert browser.get(reverse(f"admin:{name}_changelist"), {"q": "orders"}).status_code == 200


def test_records_of_processing_cannot_be_changed(browser: Client) -> None:
    assert browser.get(reverse("admin:jobs_job_add")).status_code == 403
    workers.register("worker-1", "host", 1, 5)
    assert browser.post(reverse("admin:jobs_worker_delete", args=["worker-1"]), {"post": "yes"}).status_code == 403
    assert [worker.worker_id for worker in workers.all_workers()] == ["worker-1"]
    assert browser.get(reverse("admin:jobs_job_change", args=[ObjectId()])).status_code == 302
