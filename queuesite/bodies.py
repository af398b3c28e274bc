"""Limits the length of request bodies under ASGI, and the time that they may take.

Django writes a body of unknown length to the disk without a limit, and waits without a limit for the rest. Limits of
memory are the API's own (`queuesite.api.middleware`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from queuesite.api import problems
from queuesite.foundation.config import get_config

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

#: Seconds within which a whole body must arrive, even if it trickles in steadily.
BODY_SECONDS = 60.0
#: Bytes of a too large body that are read and dropped, so that its sender reads the answer.
DROPPED = 64 << 20


class _TooLong(Exception):
    """A body exceeded the limit."""


class _TooLate(Exception):
    """A body did not arrive in time."""


class BoundedBodies:
    """An ASGI application that answers requests longer than API_MAX_BODY_MB with 413."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Handle a request, or pass on another event of the server."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        limit = get_config().request_bytes
        read = 0

        deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        complete = False

        async def bounded() -> Message:
            nonlocal read, complete
            if complete:
                return await receive()  # the application learns from it that the client has gone
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise _TooLate from None
            complete = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > limit:
                await _drop(receive, message)
                raise _TooLong
            return message

        try:
            await self._application(scope, bounded, send)
        except _TooLong:
            detail = f"the request has more than {limit:,} bytes (API_MAX_BODY_MB): send several requests"
            await _refuse(send, problems.TOO_LARGE, detail)
        except _TooLate:
            await _refuse(send, problems.TIMEOUT, f"the request was not complete within {BODY_SECONDS:g} s; repeat it")


async def _drop(receive: Receive, message: Message) -> None:
    dropped = 0
    while message["type"] == "http.request" and message.get("more_body", False) and dropped < DROPPED:
        message = await receive()
        dropped += len(message.get("body", b""))


async def _refuse(send: Send, kind: problems.Kind, detail: str) -> None:
    answer = problems.problem(kind, detail)
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(answer.content)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.content})
