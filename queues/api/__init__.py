"""The API of handlers and health, and the schemas of queues and messages.

The operations on queues are in `jobs.api.queues`, since a queue is shown with who processes it.
"""

from ninja import Router

from queues.api import handlers, health

router = Router()
for part in (handlers, health):
    router.add_router("", part.router)
