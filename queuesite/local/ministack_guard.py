"""Protects ministack by an access key. The Python of the embedded servers runs it, so it imports nothing of ours.

ministack takes any credentials and lets the scripts of any web page in (`Access-Control-Allow-Origin: *`), so any page
that is open on this machine could read and empty queues at its well-known port. Here a request needs the access key of
QUEUESITE_ACCESS_KEY, and none comes from a browser's script. The key itself is the secret. Its signature is not
verified: that takes time of each request, and keeps out nobody who knows the key.

A receive whose client has closed its connection is broken off. ministack itself would go on waiting for messages, and
give them to nobody: each would stay hidden until its visibility timeout is over.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

#: Seconds until the client of a receive is watched: most receives are answered before.
_WATCH_AFTER = 0.05
_RECEIVE = (b"x-amz-target", b"AmazonSQS.ReceiveMessage")

#: The address that only says that the server answers.
OPEN = "/_ministack/health"
#: Browsers add one of these headers to requests of scripts and to cross-site navigation.
_BROWSERS = frozenset({b"origin", b"sec-fetch-site"})
# SQS's own error code for an unknown key, so that SDKs raise what callers expect.
_REFUSAL = json.dumps(
    {
        "__type": "com.amazonaws.sqs#InvalidClientTokenId",
        "message": "the embedded SQS accepts only the access key in its data folder, and no requests from browsers",
    }
).encode()


async def _while_connected(app: App, scope: Message, receive: Receive, send: Send) -> None:
    """Run `app` for as long as its client is there."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    watchers: list[asyncio.Task[None]] = []
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        assert task is not None
        task.cancel()

    # By then the request's body has been read: ministack does so first.
    timer = loop.call_later(_WATCH_AFTER, lambda: watchers.append(loop.create_task(watch())))
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        if not gone:
            raise
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()


def guarded(app: App, access_key: str) -> App:
    """`app`, limited to requests that carry `access_key` and do not come from a browser."""
    credential = b"AWS4-HMAC-SHA256 Credential=" + access_key.encode() + b"/"

    def allowed(scope: Message) -> bool:
        authorization = b""
        for name, value in scope["headers"]:  # ASGI requires lower case
            if name in _BROWSERS:
                return False
            if name == b"authorization":
                authorization = value
        return scope["path"] == OPEN or hmac.compare_digest(authorization[: len(credential)], credential)

    async def guard(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and allowed(scope)):
            if _RECEIVE in scope.get("headers", ()):
                await _while_connected(app, scope, receive, send)
            else:
                await app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"application/x-amz-json-1.0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})
        else:  # a WebSocket, which SQS does not use
            await send({"type": "websocket.close", "code": 1008})

    return guard


if __name__ == "__main__":
    from ministack import app as ministack

    ministack.app = guarded(ministack.app, os.environ["QUEUESITE_ACCESS_KEY"])
    ministack.main()
