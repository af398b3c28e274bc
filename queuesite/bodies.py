"""Request bodies under ASGI: Django writes one of unknown length to the disk, however long it is; here it ends.

What a body may have in memory is another matter, and the API's own (`queuesite.api.middleware`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from queuesite.api import problems
from queuesite.config import get_config

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

#: How much of a body that is too large is read and dropped, so that its sender reads the answer, in bytes.
DROPPED = 64 << 20


class _TooLong(Exception):
    """A body went on after its limit."""


class BoundedBodies:
    """An ASGI application whose requests have at most API_MAX_BODY_MB; longer ones are answered with 413."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One request, or whatever else the server asks for."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        limit = get_config().api_max_body_mb << 20
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                await _drop(receive, message)
                raise _TooLong
            return message

        try:
            await self._application(scope, bounded, send)
        except _TooLong:
            await _refuse(send, limit)


async def _drop(receive: Receive, message: Message) -> None:
    dropped = 0
    while message["type"] == "http.request" and message.get("more_body", False) and dropped < DROPPED:
        message = await receive()
        dropped += len(message.get("body", b""))


async def _refuse(send: Send, limit: int) -> None:
    detail = f"the request has more than {limit:,} bytes (API_MAX_BODY_MB): send several requests"
    answer = problems.problem(problems.TOO_LARGE, detail)
    headers = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", str(len(answer.content)).encode())]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})
