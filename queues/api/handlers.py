"""The registered handlers."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router

from queues.api.schemas import HandlerOut
from queues.handlers import registry
from queuesite.api.auth import needs
from queuesite.api.schemas import Out

router = Router(tags=["handlers"], by_alias=True)


class HandlersOut(Out):
    """The registered handlers."""

    items: list[HandlerOut]


@router.get("/handlers", response=HandlersOut, auth=needs("queues.view_queue"))
def list_handlers(request: HttpRequest) -> HandlersOut:
    """List the handlers that a queue may have, with the schema of their options."""
    return HandlersOut(
        items=[
            HandlerOut(
                name=handler.name,
                summary=handler.summary,
                options=None if handler.options is None else handler.options.model_json_schema(),
            )
            for handler in registry.all_handlers().values()
        ]
    )
