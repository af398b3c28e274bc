"""The API of queues and their processing: handlers, jobs, failures, workers and numbers."""

from ninja import Router

from jobs.api import attempts, events, handlers, notices, numbers, queues, records

router = Router()
for part in (queues, events, handlers, records, attempts, notices, numbers):
    router.add_router("", part.router)
