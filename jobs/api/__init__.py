"""The API of who processes: queues with their activity, jobs, workers, numbers."""

from ninja import Router

from jobs.api import numbers, queues, records

router = Router()
for part in (queues, records, numbers):
    router.add_router("", part.router)
