"""The API of what exists: messages, operations on queues, handlers, health.

Queues themselves are in `jobs.api.queues`, since a queue is shown with who processes it.
"""

from ninja import Router

from queues.api import health, messages, operations

router = Router()
for part in (messages, operations, health):
    router.add_router("", part.router)
