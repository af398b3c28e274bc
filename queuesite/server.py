"""Uvicorn's protocol with deadlines for requests that are never finished.

Uvicorn waits forever for a connection's first request, for the rest of a request's head, and for its body, so a few
thousand connections that send a byte now and then would use up a process's descriptors. Here a request's head must
arrive within HEAD_SECONDS of the connection's start or of its last answer, even if it trickles in. `queuesite.bodies`
limits bodies, under any ASGI server, and WEB_MAX_CONNECTIONS the number of connections.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds within which the head of a request must arrive.
HEAD_SECONDS = 10.0
#: Connections above WEB_MAX_CONNECTIONS that are still answered, with 503.
_SPARE = 100


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 whose request heads must arrive in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, or refuse the connection at once if there are too many."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + _SPARE:
            transport.abort()  # uvicorn's 503 needs a head, and this many connections are not worth waiting for
            return
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Stop the deadline once a head is complete, which begins a cycle."""
        super().data_received(data)
        if self._is_busy():
            self._cancel()

    def on_response_complete(self) -> None:
        """Start the deadline of the next head."""
        super().on_response_complete()
        if not self._is_busy() and not self.transport.is_closing():
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._cancel()
        super().connection_lost(exc)

    def _is_busy(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait_for_head(self) -> None:
        self._cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_late)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if not self._is_busy() and not self.transport.is_closing():
            if self.conn.trailing_data[0]:  # a head has begun
                self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
