"""Everything under `/queues`, and operations on several queues.

The schemas of definitions and messages are in `queues.api`.
"""

from ninja import Router

from jobs.api.queues import actions, adoption, definitions, messages, numbers

router = Router()
for part in (definitions, adoption, messages, actions, numbers):
    router.add_router("", part.router)
