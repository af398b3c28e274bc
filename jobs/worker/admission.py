"""Whether to begin an assignment at all. Pure."""

from __future__ import annotations

from jobs.listening_model import Listening
from jobs.models import Assignment, EndReason, Lease
from jobs.placement import can_serve
from queues.fleet import Offer
from queues.models import Queue


def refusal(
    assignment: Assignment, queue: Queue | None, lease: Lease | None, *, offer: Offer, free: int, draining: bool
) -> EndReason | None:
    """Why a worker hands a new assignment back unbegun; None if it takes it.

    `lease` was read after the assignment, `free` is how many more consumers the worker may run. The worker offers
    `offer`: the queue may have another handler or pool than when its master read it.
    """
    if draining:
        return EndReason.SHUTDOWN
    if is_stale(assignment, lease) or free <= 0:
        return EndReason.REVOKED
    if queue is None:
        return EndReason.QUEUE_MISSING
    if queue.paused:
        return EndReason.PAUSED
    return None if can_serve(offer, queue) else EndReason.MISPLACED


def is_stale(assignment: Assignment | Listening, lease: Lease | None) -> bool:
    """Whether its master no longer led when it made it, because a later one had been elected.

    A master that is frozen between looking at its lease and writing may write much later. Both dates are the database
    server's, so no host's clock and no network's delay has a say in it.
    """
    return lease is not None and assignment.term < lease.term and assignment.created_at > lease.elected_at
