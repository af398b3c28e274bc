"""The system's numbers for Prometheus, from the database: any web process answers for the whole system."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, islice
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from jobs import histogram, reads
from jobs import services as processing
from jobs.models import Worker
from jobs.repositories import alerts, failures
from jobs.repositories.throughput import totals
from jobs.throughput_models import Throughput
from queues import services
from queues.fleet import DEFAULT_POOL
from queues.health.figures import oldest_message
from queues.health.rules import PROBLEMS, Health, problems_of
from queues.models import Queue
from queues.sqs import PURPOSES
from queues.state import Context, State, state_of
from queuesite import __version__
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


#: Queues whose histograms are samples in memory at once: those of ten thousand would take 100 MB.
_AT_ONCE = 500


def text() -> bytes:
    """All metrics in Prometheus's text format. Raises `MongoUnavailable`."""
    parts = []
    previous = ""
    for family in _collected():
        part = generate_latest(_Family(family))
        if family.name == previous:  # the rest of a large one, which has its head already
            part = b"".join(line for line in part.splitlines(keepends=True) if not line.startswith(b"#"))
        parts.append(part)
        previous = family.name
    return b"".join(parts)


class _Family(CollectorRegistry):
    """A registry of one family that is there already."""

    def __init__(self, family: Metric) -> None:
        super().__init__(auto_describe=False)
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def _collected() -> Iterator[Metric]:
    build = _gauge("build_info", "Always 1; the version of the web process that answers.", "version", "python")
    build.add_metric([__version__, platform.python_version()], 1)
    yield build
    queues = services.list_queues()
    now = database_clock.now()
    sums = {row.queue_id: row for row in totals()}
    yield from _depths(queues)
    yield from _done([(queue, sums[queue.id]) for queue in queues if queue.id in sums])
    yield _backoffs(queues, now)
    yield from _processing(queues, now)


def _depths(queues: list[Queue]) -> Iterator[Metric]:
    for attribute, name, what in (
        ("depth_visible", "queue_visible_messages", "Messages that can be received."),
        ("depth_in_flight", "queue_in_flight_messages", "Messages that were received and not yet deleted."),
        ("depth_delayed", "queue_delayed_messages", "Messages whose delay has not passed."),
        ("dead_letters", "queue_dead_letters", "Messages in the dead-letter queue."),
        ("paused", "queue_paused", "1 if the queue is paused."),
        ("trip_count", "queue_trips", "Runs in a row that tripped because what the handler needs was down."),
    ):
        gauge = _gauge(name, what, "queue")
        for queue in queues:
            gauge.add_metric([queue.name], int(getattr(queue, attribute)))
        yield gauge


def _backoffs(queues: list[Queue], now: datetime) -> Metric:
    gauge = _gauge("queue_backoff_seconds", "Seconds until a queue that backs off is tried again.", "queue")
    for queue in queues:
        left = 0.0 if queue.not_before is None else max(0.0, (queue.not_before - now).total_seconds())
        gauge.add_metric([queue.name], left)
    metric: Metric = gauge
    return metric


def _done(rows: list[tuple[Queue, Throughput]]) -> Iterator[Metric]:
    for attribute, name, what in (
        ("processed", "messages_processed", "Messages that were handled."),
        ("failed", "messages_failed", "Failed attempts, without retries that handlers asked for."),
        ("rejected", "messages_rejected", "Messages that a handler sent to the dead-letter queue."),
        ("timed_out", "messages_timed_out", "Attempts that exceeded their time limit."),
        ("retried", "messages_retried", "Attempts for which the handler asked for a retry."),
    ):
        counter = CounterMetricFamily(f"queuesite_{name}", what, labels=["queue"])
        for queue, row in rows:
            counter.add_metric([queue.name], getattr(row, attribute))
        yield counter
    yield _requests(rows)
    yield from _histogram(
        "handler_seconds",
        "Handler durations.",
        histogram.BOUNDS,
        ((queue.name, row.buckets, row.duration_sum) for queue, row in rows),
    )
    yield from _histogram(
        "wait_seconds",
        "Seconds from the sending of a message to the start of its handler, if it had not been received before.",
        histogram.WAIT_BOUNDS,
        ((queue.name, row.wait_buckets, row.wait_sum) for queue, row in rows),
    )


def _histogram(
    name: str, what: str, bounds: Sequence[float], rows: Iterable[tuple[str, Sequence[int], float]]
) -> Iterator[Metric]:
    """A histogram by queue, of names, counts and sums, in parts that are small enough for memory; at least one."""
    left = iter(rows)
    some = list(islice(left, _AT_ONCE))
    while True:
        part = HistogramMetricFamily(f"queuesite_{name}", what, labels=["queue"])
        for queue, buckets, total in some:
            part.add_metric([queue], _cumulative(bounds, buckets), total)
        yield part
        some = list(islice(left, _AT_ONCE))
        if not some:
            return


def _requests(rows: list[tuple[Queue, Throughput]]) -> Metric:
    counter = CounterMetricFamily(
        "queuesite_sqs_requests",
        "Requests to SQS by what they were made for. Those of listeners and the sweep are counted every ten minutes.",
        labels=["queue", "purpose"],
    )
    for queue, row in rows:
        known = {purpose: row.purposes.get(purpose, 0) for purpose in PURPOSES}
        # Those of before an update have no purpose.
        for purpose, count in {**known, "unknown": row.requests - sum(known.values())}.items():
            if count > 0:
                counter.add_metric([queue.name, purpose], count)
    return counter


def _cumulative(bounds: Sequence[float], buckets: Sequence[int]) -> list[tuple[str, float]]:
    return list(zip([*map(repr, bounds), "+Inf"], accumulate(buckets), strict=True))


def _processing(queues: list[Queue], now: datetime) -> Iterator[Metric]:
    present = processing.list_workers()
    workers = [worker for worker in present if processing.is_alive(worker, now)]
    assigned = reads.find_assignments()
    context = reads.queue_context(assigned, present=present)
    states = _gauge("queues", "Queues by state.", "state")
    found = [state_of(queue, context) for queue in queues]
    for state in State:
        states.add_metric([state], found.count(state))
    yield states
    unserved = _gauge("queue_unserved", "1 if no live worker has the queue's handler in its pool.", "queue")
    for queue, state in zip(queues, found, strict=True):
        unserved.add_metric([queue.name], int(state is State.UNSERVED))
    yield unserved
    yield from _health(queues, context)
    yield _gauge("workers", "Live workers.", value=len(workers))
    yield _gauge(
        "workers_draining", "Live workers that take no more assignments.", value=sum(w.draining for w in workers)
    )
    capacity = sum(worker.capacity for worker in workers if not worker.draining)
    yield _gauge("capacity", "Consumers that all workers together can run at once.", value=capacity)
    yield _gauge("capacity_used", "Capacity in use: assigned consumers.", value=len(assigned))
    lease = reads.leader()
    wanted = reads.slots_wanted(lease)
    yield from _pools(queues, [worker for worker in workers if not worker.draining], wanted)
    listened = reads.listened_queues()
    yield _gauge("queues_listened", "Queues that a listener holds, so that they need no sweep.", value=len(listened))
    kinds = failures.count()
    yield _gauge("failure_kinds", "Kinds of failure on record.", value=kinds)
    leads = _gauge("leader", "1 for the master that leads; absent if none does.", "holder")
    if lease is not None:
        leads.add_metric([str(lease.holder)], 1)
    yield leads
    yield _gauge("leader_term", "Number of elections so far.", value=0 if lease is None else lease.term)
    yield _gauge(
        "sweep_lag_seconds",
        "Seconds by which the most overdue check of a queue without a listener exceeds SWEEP_MAX_SECONDS.",
        value=_sweep_lag([q for q in queues if not q.paused and q.id not in context.assigned | listened], now),
    )
    looked = alerts.last_check()
    yield _gauge(
        "background_tasks_age_seconds",
        "Seconds since the background tasks last ran what they run each minute; +Inf: never.",
        value=math.inf if looked is None else max(0.0, (now - looked).total_seconds()),
    )


def _health(queues: list[Queue], context: Context) -> Iterator[Metric]:
    ill = _gauge("queue_problem", "1 for each problem that a queue has; absent for others.", "queue", "problem")
    counts = Counter[Health]()
    for queue in queues:
        for problem in problems_of(queue, context):
            ill.add_metric([queue.name, problem.health], 1)
            counts[problem.health] += 1
    yield ill
    problems = _gauge("queues_with_problem", "Queues by problem; one that has several counts for each.", "problem")
    for health in PROBLEMS:
        problems.add_metric([health], counts[health])
    yield problems
    oldest = _gauge("queue_oldest_message_seconds", "Age of the oldest known message; a lower bound.", "queue")
    for queue in queues:
        found = oldest_message(queue, context)
        age = 0.0 if found is None else max(0.0, (context.now - found.sent_at).total_seconds())
        oldest.add_metric([queue.name], age)
    yield oldest


def _pools(queues: list[Queue], workers: list[Worker], wanted: Mapping[str, int] | None) -> Iterator[Metric]:
    """What a fleet is scaled by. The leader's plan says what is wanted, so that it is missing while none leads."""
    capacity = Counter({worker.pool or DEFAULT_POOL: 0 for worker in workers})
    for worker in workers:
        capacity[worker.pool or DEFAULT_POOL] += worker.capacity
    slots = _gauge("slots", "Consumers that the workers of a pool can run at once.", "pool")
    for pool, count in capacity.items():
        slots.add_metric([pool], count)
    yield slots
    gauge = _gauge("slots_wanted", "Consumers that the queues of a pool have or wait for.", "pool")
    if wanted is not None:
        for pool in {*capacity, *wanted, *(queue.pool or DEFAULT_POOL for queue in queues)}:
            gauge.add_metric([pool], wanted.get(pool, 0))
    yield gauge


def _sweep_lag(queues: list[Queue], now: datetime) -> float:
    seen = [moment for queue in queues if (moment := queue.depth_observed_at or queue.created_at) is not None]
    if not seen:
        return 0.0
    return max(0.0, (now - min(seen)).total_seconds() - get_config().sweep_max_seconds)


def _gauge(name: str, what: str, *labels: str, value: float | None = None) -> Any:
    return GaugeMetricFamily(f"queuesite_{name}", what, labels=labels or None, value=value)
