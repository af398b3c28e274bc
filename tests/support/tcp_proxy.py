"""A TCP proxy on loopback that passes everything on until a test makes it delay, cut, refuse or swallow data.

It knows no protocol, so it serves MongoDB and SQS alike. Errors that SQS itself would answer (throttling, entries of a
batch that fail) are in `tests.support.faults`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

#: Bytes that are passed on at a time.
CHUNK = 65_536

#: Whether to stop at these bytes for the server.
Matches = Callable[[bytes], bool]


class TcpProxy:
    """The proxy. Its methods may be called from any thread, and have taken effect when they return."""

    def __init__(self, upstream: int) -> None:
        #: The server's port.
        self.upstream = upstream
        self._delay = 0.0
        self._matches: Matches | None = None
        self._refusing = False
        #: Whether the proxy holds bytes: those that matched, or that came later.
        self.holding = threading.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        # While it refuses, a socket that does not listen reserves the port.
        self._guard = _bound(0)
        self.port = int(self._guard.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._thread.start()
        self._do(self._open())

    def stop(self) -> None:
        """Close everything."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._guard.close()

    def delay(self, seconds: float) -> None:
        """Delay everything by so many seconds in each direction."""
        self._delay = seconds

    def cut(self) -> None:
        """Break existing connections, and serve new ones."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Break existing connections and refuse new ones, as if no server ran."""
        self._do(self._refuse())

    def blackhole(self) -> None:
        """Accept and keep connections, but pass nothing on. What is sent meanwhile arrives after `heal`."""
        self._do(self._hold())

    def hold_when(self, matches: Matches) -> None:
        """Pass nothing on once `matches` is true of bytes for the server, including these."""
        self._matches = matches

    def redirect(self, upstream: int) -> None:
        """Break existing connections, and serve new ones from another port."""
        self.upstream = upstream
        self.cut()

    def heal(self) -> None:
        """Pass on everything from now on, beginning with what was held."""
        self._do(self._heal())

    # --- within the loop ---

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=_bound(self.port), backlog=256)

    async def _close(self) -> None:
        self._passing.set()
        await self._refuse()

    async def _hold(self) -> None:
        self._passing.clear()

    async def _refuse(self) -> None:
        self._refusing = True
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _heal(self) -> None:
        self._delay = 0.0
        self._matches = None
        self.holding.clear()
        self._passing.set()
        self._refusing = False
        if self._server is None:
            await self._listen()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._writers.add(writer)
        theirs: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            there, theirs = await asyncio.open_connection("127.0.0.1", self.upstream)
            self._writers.add(theirs)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, theirs, to_server=True))
                group.create_task(self._carry(there, writer, to_server=False))
        except (asyncio.CancelledError, OSError, ExceptionGroup):
            pass  # one end has gone, or was cut off
        finally:
            self._connections.discard(task)
            for end in (writer, theirs):
                if end is not None:
                    self._writers.discard(end)
                    end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool) -> None:
        while data := await reader.read(CHUNK):
            if to_server and self._matches is not None and self._matches(data):
                self._passing.clear()
            if self._delay:
                await asyncio.sleep(self._delay)
            if not self._passing.is_set():
                self.holding.set()
                await self._passing.wait()
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            await asyncio.wait_for(_flushed(writer), 1)
        raise ConnectionResetError("the other end has closed")


async def _flushed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
