"""What is running, in a word."""

from __future__ import annotations

from jobs.repositories import leases
from jobs.repositories import workers as worker_repository
from queuesite.foundation.databases import MongoError


def ready(workers: int) -> bool:
    """Whether a master leads and at least `workers` workers are registered. False if MongoDB does not answer."""
    try:
        return leases.leader() is not None and len(worker_repository.all_workers()) >= workers
    except MongoError:
        return False
