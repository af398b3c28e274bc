"""What can be asked of, and done to, the parts that process: shared by the command line, the admin and the API."""

from __future__ import annotations

from datetime import datetime

from bson import ObjectId

from jobs.models import Worker
from jobs.repositories import attempts, failures, jobs, silences, throughput, workers
from queues import services as queues
from queues.models import Queue
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.foundation.errors import InvalidInput, NotFound, StaleTransition
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


def list_workers(*, handlers: bool = True) -> list[Worker]:
    """Every registered worker, the oldest first; `handlers`: with what each announces of them, which is long."""
    return sorted(workers.all_workers(handlers=handlers), key=lambda worker: (worker.started_at, worker.worker_id))


def is_alive(worker: Worker, now: datetime) -> bool:
    """Whether a worker's heartbeat is not older than WORKER_STALLED_AFTER."""
    return worker.is_alive(now, get_config().worker_stalled_after)


def worker_state(worker: Worker, now: datetime) -> str:
    """A worker's state in one word: `stalled`, `draining` or `alive`."""
    if not is_alive(worker, now):
        return "stalled"
    return "draining" if worker.draining else "alive"


def delete_failure(failure_id: ObjectId) -> None:
    """Forget a kind of failure. One that comes up again is counted from one. Raises `NotFound`."""
    failures.delete(failure_id)
    log.info("failure_deleted", failure=str(failure_id))


def delete_queue(name: str) -> Queue:
    """Delete a queue, as `queues.services.delete` does; of one that others own also its records here.

    Records of a queue of ours stay as long as those of any other: JOB_RETENTION_DAYS. Raises `NotFound`, `ServerError`.
    """
    queue = queues.delete(name)
    silences.end(str(queue.id), database_clock.now())
    if not queue.managed:
        # The definition first: then nobody begins to process it again.
        jobs.forget(queue.queue_url)
        failures.forget(queue.queue_url)
        attempts.forget(queue.queue_url)
        throughput.forget(queue.id)
    return queue


def set_capacity(worker_id: str, capacity: int | None) -> bool:
    """Have a running worker run up to `capacity` consumers at once (None: MAX_LOAD again); False: it was asked before.

    It follows at once, or with its next heartbeat. If more are running, those that began last finish what is in flight
    and make room. The worker forgets it when it ends. Raises `NotFound`, `InvalidInput`.
    """
    found = next(iter(workers.by_ids([worker_id])), None)
    if found is None:
        raise _no_worker(worker_id)
    if found.capacity_limit is None:
        raise InvalidInput(f"worker {worker_id} runs an earlier release, whose capacity only MAX_LOAD sets")
    if capacity is not None and not 1 <= capacity <= found.capacity_limit:
        raise InvalidInput(
            f"capacity {capacity}: expected 1 to {found.capacity_limit}, which is the worker's MAX_LOAD_LIMIT",
            field="capacity",
        )
    if found.wanted_capacity == capacity:
        return False
    try:
        workers.want_capacity(worker_id, capacity)
    except StaleTransition:
        raise _no_worker(worker_id) from None
    log.info("worker_capacity_requested", worker=worker_id, capacity=capacity)
    return True


def _no_worker(worker_id: str) -> NotFound:
    return NotFound(f"there is no worker {worker_id!r}; `{PROGRAM} worker list` shows all workers")


def drain_worker(worker_id: str) -> bool:
    """Have a worker end in order, as SIGTERM does; False if it was asked before.

    It takes no more assignments, finishes what is in flight within SHUTDOWN_GRACE_SECONDS and exits. `NotFound`: none.
    """
    if workers.is_draining(worker_id):
        return False
    try:
        workers.drain(worker_id)
    except StaleTransition:
        raise _no_worker(worker_id) from None
    log.info("worker_drain_requested", worker=worker_id)
    return True
