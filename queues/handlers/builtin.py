"""The handlers that come with the system: `log`, `simulate`, `http` and `task`."""

from __future__ import annotations

import random
import time

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queues.handlers import http, task
from queues.handlers.contract import Message
from queues.handlers.registry import handler
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: How much of a body the `log` handler shows, in characters.
LOGGED_CHARACTERS = 200


@handler("log")
def log_message(message: Message) -> None:
    """Log each message."""
    log.info(
        "message_logged",
        queue=message.queue,
        message_id=message.id,
        receive_count=message.receive_count,
        body=message.body[:LOGGED_CHARACTERS],
    )


class SimulateOptions(BaseModel):
    """Options of `simulate`."""

    model_config = ConfigDict(extra="forbid")

    min_seconds: float = Field(1.0, ge=0, le=3_600, description="shortest time that a message takes")
    max_seconds: float = Field(5.0, ge=0, le=3_600, description="longest time that a message takes")
    failure_rate: float = Field(0.0, ge=0, le=1, description="share of the attempts that fail, 0 to 1")

    @model_validator(mode="after")
    def _ordered(self) -> SimulateOptions:
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds={self.min_seconds:g} is more than max_seconds={self.max_seconds:g}")
        return self


@handler("simulate", options=SimulateOptions)
def simulate(message: Message) -> None:
    """Sleep 1 to 5 seconds in place of work; `failure_rate` is the share of attempts that fail."""
    options = message.options
    assert isinstance(options, SimulateOptions)
    time.sleep(random.uniform(options.min_seconds, options.max_seconds))
    if random.random() < options.failure_rate:
        raise RuntimeError("simulated failure")


handler("http", options=http.HttpOptions)(http.post_message)
handler(task.TASK_HANDLER)(task.run_task)
