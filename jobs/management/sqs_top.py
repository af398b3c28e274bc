"""What `manage.py sqs top` shows: the system in a line, and the busiest queues."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from jobs import reads, services, statistics
from jobs.management.sqs_output import state_words
from jobs.models import Worker
from queues import search
from queues.models import Queue
from queues.services import by_names


@dataclass
class Running:
    """What the consumers of a queue report of their runs, as of their workers' last heartbeats."""

    consumers: int = 0
    in_flight: int = 0
    processed: int = 0
    failed: int = 0
    retried: int = 0


def picture(limit: int) -> Group:
    """The line and the table. Raises pymongo's errors."""
    numbers = statistics.current()
    present = services.list_workers()
    running = running_by_queue(present)
    context = reads.queue_context(present=present)
    last = numbers.last_minute
    line = Text(
        f"{numbers.at:%H:%M:%S} UTC  queues: {_states(numbers)}  "
        f"visible {numbers.visible:,}, in flight {numbers.in_flight:,}, dead letters {numbers.dead_letters:,}  "
        f"last minute: {last.processed:,} done, {last.failed:,} failed, {last.retried:,} retried  "
        f"workers {numbers.workers}, places {numbers.capacity_used} of {numbers.capacity}  "
        f"leader {numbers.leader or 'none'}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("queue", "state", "visible", "in flight", "consumers", "done in its runs", "failed", "retried", "dead")
    for column in columns:
        table.add_column(column, justify="left" if column in ("queue", "state") else "right", overflow="fold")
    for queue in busiest(running, limit):
        work = running.get(queue.name, Running())
        table.add_row(
            queue.name,
            state_words(queue, context),
            f"{queue.depth_visible:,}",
            f"{max(work.in_flight, queue.depth_in_flight):,}",
            str(work.consumers),
            f"{work.processed:,}",
            f"{work.failed:,}",
            f"{work.retried:,}",
            f"{queue.dead_letters:,}",
        )
    return Group(line, Text(), table)


def running_by_queue(workers: list[Worker]) -> dict[str, Running]:
    """The runs of all workers, added up by the names of their queues."""
    found: dict[str, Running] = {}
    for worker in workers:
        for one in worker.consumers:
            sums = found.setdefault(str(one.get("queueName", "")), Running())
            sums.consumers += 1
            sums.in_flight += int(one.get("inFlight") or 0)
            sums.processed += int(one.get("processed") or 0)
            sums.failed += int(one.get("failed") or 0)
            sums.retried += int(one.get("retried") or 0)
    return found


def busiest(running: dict[str, Running], limit: int) -> list[Queue]:
    """The queues that hold most messages, and first those that are being processed."""
    found, _ = search.find_queues(sort="-visible", limit=limit)
    missing = sorted(set(running) - {queue.name for queue in found})[:limit]
    both = [*by_names(missing), *found]
    return sorted(both, key=lambda queue: (queue.name not in running, -queue.depth_visible, queue.name))[:limit]


def _states(numbers: statistics.Statistics) -> str:
    return ", ".join(f"{count:,} {state.value}" for state, count in numbers.queues.items() if count) or "none"
