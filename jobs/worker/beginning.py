"""The beginning of an assignment that the worker takes: its job is set to running."""

from __future__ import annotations

from jobs.models import Assignment
from jobs.repositories import jobs
from jobs.repositories.jobs import Processor
from jobs.worker import completion
from queues.models import Queue
from queuesite.foundation.errors import StaleTransition
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


def start_job(assignment: Assignment, queue: Queue, processor: Processor, version: str | None) -> bool:
    """Set an assignment's job to running; False: somebody has ended it, and the assignment is released."""
    try:
        jobs.start(assignment.job_id, processor, queue.handler, version)
    except StaleTransition:
        # The master died between the assignment and its job, or has not written the job yet.
        jobs.create_many([(assignment, queue.name, processor)])
        try:
            jobs.start(assignment.job_id, processor, queue.handler, version)
        except StaleTransition:
            log.warning("assignment_stale", assignment_id=str(assignment.id), queue=queue.name)
            completion.release(assignment, processor.worker_id)
            return False
    return True
