"""The API of queues and their processing: jobs, failures, workers and numbers."""

from ninja import Router

from jobs.api import numbers, queues, records

router = Router()
for part in (queues, records, numbers):
    router.add_router("", part.router)
