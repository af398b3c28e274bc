"""The API of health, and the schemas of queues and messages.

The operations on queues are in `jobs.api.queues`, since a queue is shown with who processes it.
"""

from ninja import Router

from queues.api import health

router = Router()
router.add_router("", health.router)
