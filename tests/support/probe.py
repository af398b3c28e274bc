"""A handler that records its messages and does what a test chooses, for runs within the test's process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from queues.handlers import Message, handler


class Probe:
    """What the handlers `probe` and `async-probe` do now."""

    def __init__(self) -> None:
        self.behave: Callable[[Message], Any] = lambda message: None
        self.behave_async: Callable[[Message], Awaitable[Any]] | None = None
        self.started: list[Message] = []
        self.ended: list[Message] = []
        self.running = 0
        self._under_way: set[int] = set()
        self.most = 0
        self.changed = threading.Condition()

    def begin(self, message: Message) -> None:
        with self.changed:
            self.started.append(message)
            self._under_way.add(id(message))
            self.running += 1
            self.most = max(self.most, self.running)
            self.changed.notify_all()

    def end(self, message: Message) -> None:
        with self.changed:
            if id(message) not in self._under_way:
                return  # a handler outlived an earlier test
            self._under_way.remove(id(message))
            self.running -= 1
            self.ended.append(message)
            self.changed.notify_all()

    @property
    def bodies(self) -> Counter[str]:
        """How often each body was handled, with whatever outcome."""
        return Counter(message.body for message in self.ended)


probe = Probe()


class ProbeOptions(BaseModel):
    """Options of both."""

    model_config = ConfigDict(extra="forbid")

    number: int = 0


@handler("probe", options=ProbeOptions)
def probe_handler(message: Message) -> Any:
    """Do what the test wants."""
    probe.begin(message)
    try:
        return probe.behave(message)
    finally:
        probe.end(message)


@handler("async-probe", options=ProbeOptions)
async def async_probe_handler(message: Message) -> Any:
    """Do what the test wants, on the event loop."""
    probe.begin(message)
    try:
        if probe.behave_async is not None:
            return await probe.behave_async(message)
        return probe.behave(message)
    finally:
        probe.end(message)


def fresh() -> Probe:
    """The probe, reset."""
    probe.__init__()  # type: ignore[misc]  # the handlers hold this very object
    return probe
