"""How runs follow the settings of their queues."""

from __future__ import annotations

from jobs.consumer.settings import QueueSettings
from jobs.models import EndReason
from jobs.placement import can_serve
from jobs.worker.announcer import Announcer
from jobs.worker.runs import Runs
from queues import repository as queues
from queuesite.foundation.databases import database_clock


def follow(runs: Runs, announcer: Announcer) -> None:
    """Pass changed definitions to the consumers, and end the runs of queues that are paused, gone or another's.

    Raises pymongo's errors.
    """
    definitions = {queue.id: queue for queue in queues.by_ids({run.queue.id for run in runs})}
    for run in runs:
        if run.report is not None or run.consumer is None:
            continue
        queue = definitions.get(run.queue.id)
        if queue is None:
            run.end(EndReason.QUEUE_MISSING)
            continue
        if queue.paused:
            run.end(EndReason.PAUSED)
        elif not can_serve(announcer.offer, queue):
            run.end(EndReason.MISPLACED)
            if announcer.version_of(queue.handler) is None:
                continue  # what is in flight goes on with the handler that the run began with
        # Runs that are ending get them too: visibility timeout and dead-letter queue still matter to them.
        settings = QueueSettings.of(queue, database_clock.now())
        if settings != run.settings:
            run.settings = settings
            run.consumer.apply(settings)
