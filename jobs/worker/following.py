"""How runs follow the settings of their queues."""

from __future__ import annotations

from jobs.consumer.settings import QueueSettings
from jobs.models import EndReason
from jobs.worker.runs import Runs
from queues import repository as queues
from queuesite.foundation.databases import database_clock


def follow(runs: Runs) -> None:
    """Pass changed definitions to the consumers, and end the runs of queues that are paused or gone.

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
        # Runs that are ending get them too: visibility timeout and dead-letter queue still matter to them.
        settings = QueueSettings.of(queue, database_clock.now())
        if settings != run.settings:
            run.settings = settings
            run.consumer.apply(settings)
