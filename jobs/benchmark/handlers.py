"""The handlers that are measured. Only a benchmark's own processes import them, by HANDLER_MODULES."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from queues.handlers import Message, handler

#: Environment variable that names the file to which `benchmark-stamp` writes.
STAMPS = "BENCHMARK_STAMPS"


class WorkOptions(BaseModel):
    """Options of the handlers that work."""

    model_config = ConfigDict(extra="forbid")

    least: float = Field(0.0, ge=0, description="shortest time of a message, in seconds")
    most: float = Field(0.0, ge=0, description="longest time of a message, in seconds")


@handler("benchmark", options=WorkOptions)
def work(message: Message) -> None:
    """Take as long as the message's number says: the same messages take the same time in every run."""
    if seconds := _seconds(message):
        time.sleep(seconds)


@handler("benchmark-async", options=WorkOptions)
async def work_async(message: Message) -> None:
    """The same on the event loop."""
    if seconds := _seconds(message):
        await asyncio.sleep(seconds)


@handler("benchmark-stamp", options=WorkOptions)
def stamp(message: Message) -> None:
    """Write down when the handling began (monotonic clock, which all processes of a machine share)."""
    stamped = {"body": message.body, "at": time.monotonic(), "queue": message.queue, "pid": os.getpid()}
    line = json.dumps({**stamped, "receives": message.receive_count})
    descriptor = os.open(os.environ[STAMPS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)
    if seconds := _seconds(message):
        time.sleep(seconds)


def _seconds(message: Message) -> float:
    options: Any = message.options
    if not options.most:
        return 0.0
    # A multiplier that is prime to 1,000 scatters the numbers evenly.
    share = int(message.body) * 617 % 1_000 / 999
    return float(options.least + share * (options.most - options.least))
