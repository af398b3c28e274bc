"""Which worker can process which queue: the rule, and what a worker announces for it.

A worker's document has, beside what it is and does:

    pool      its pool
    version   of the code: APP_VERSION, or a hash of all handlers' versions
    handlers  for each handler: `name`; `version` (APP_VERSION, or a hash of the handler's module); `kind` (sync or
              async); `timeout` in seconds, or null; `description`, its docstring; `options`, the JSON Schema of its
              options as text (null: it takes none)

They are written when the worker registers, and do not change for as long as it has its id.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from jobs.models import Assignment, Worker
from queues.fleet import Fleet, Offer
from queues.handlers.announcement import Announced
from queues.handlers.registry import all_handlers
from queues.models import Queue
from queues.state import Context

#: What is believed of ages (seconds) and of dates (seconds since 1970): SQS keeps no message longer than 14 days, and
#: a date beyond the year 2200 cannot be one.
_OLDEST = 15 * 86_400
_LATEST = 7_258_118_400


@dataclass(frozen=True)
class Announcement:
    """What a worker announces of itself."""

    pool: str
    version: str
    handlers: tuple[Announced, ...]

    @cached_property
    def offer(self) -> Offer:
        """What of it decides where queues go."""
        return Offer(self.pool, {one.name: one.version for one in self.handlers})

    def as_document(self) -> dict[str, Any]:
        """The fields of the worker's document."""
        return {
            "pool": self.pool,
            "version": self.version,
            "handlers": [one.as_document() for one in self.handlers],
        }


def announcement(pool: str, app_version: str | None) -> Announcement:
    """What a worker of this process would announce. Raises `HandlerError` if a module of handlers fails."""
    handlers = tuple(Announced.of(handler, app_version) for handler in all_handlers().values())
    if app_version is None:
        every = "\n".join(f"{one.name} {one.version}" for one in handlers)
        app_version = hashlib.sha256(every.encode()).hexdigest()[:12]
    return Announcement(pool, app_version, handlers)


def announced(worker: Worker) -> list[Announced]:
    """The handlers that a worker announces. Entries that are malformed count as absent."""
    found = [Announced.from_document(one) for one in worker.handlers]
    return [one for one in found if one is not None]


def offer_of(worker: Worker) -> Offer:
    """What a worker announces, as far as it decides where queues go."""
    if worker.pool is None:
        return Offer()
    return Offer(worker.pool, {one.name: one.version for one in announced(worker)})


def can_serve(worker: Worker | Offer, queue: Queue) -> bool:
    """Whether a worker can process a queue: it has the queue's handler and is in its pool, if the queue names one."""
    offer = offer_of(worker) if isinstance(worker, Worker) else worker
    return offer.serves(queue.handler, queue.pool)


def fleet_of(workers: Iterable[Worker]) -> Fleet:
    """What these workers can do together. Those that drain take no more queues."""
    return Fleet(tuple(offer_of(worker) for worker in workers if not worker.draining))


def handling_since(workers: Iterable[Worker]) -> dict[str, datetime]:
    """Since when the oldest message in a slot has been held, by the queues' names.

    As of the workers' last heartbeats, by the database's clock. Entries that are malformed count as absent.
    """
    return _earliest(
        (entry, worker.heartbeat_at - timedelta(seconds=age))
        for worker in workers
        for entry in worker.consumers
        if _is_number(age := entry.get("handlingFor")) and age < _OLDEST
    )


def oldest_sent_at(workers: Iterable[Worker]) -> dict[str, datetime]:
    """When the oldest message that consumers hold was sent, by SQS's clock, by the queues' names."""
    return _earliest(
        (entry, datetime.fromtimestamp(sent_at, UTC))
        for worker in workers
        for entry in worker.consumers
        if _is_number(sent_at := entry.get("oldestSentAt")) and sent_at < _LATEST
    )


def context_of(held: Sequence[Assignment], live: Sequence[Worker], now: datetime) -> Context:
    """What states and health of queues depend on besides the queues: all assignments and the live workers."""
    load = Counter(one.worker for one in held)
    return Context(
        now,
        frozenset(one.queue_id for one in held),
        fleet_of(live),
        fleet_of(one for one in live if load[one.worker_id] < one.capacity),
        handling=handling_since(live),
        oldest=oldest_sent_at(live),
    )


def _earliest(moments: Iterable[tuple[dict[str, Any], datetime]]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for entry, moment in moments:
        queue = entry.get("queueName")
        if isinstance(queue, str):
            found[queue] = min(found.get(queue, moment), moment)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
