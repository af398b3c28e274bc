"""Everything under `/queues`, and what is done to several queues at once.

The schemas of definitions and messages belong to the queues: `queues.api`.
"""

from ninja import Router

from jobs.api.queues import actions, definitions, messages, numbers

router = Router()
for part in (definitions, messages, actions, numbers):
    router.add_router("", part.router)
