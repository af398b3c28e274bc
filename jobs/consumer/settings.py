"""What a consumer needs to know of its queue and of its run; plain values that go through a pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from queues.models import MAX_RECEIVE_COUNTS, TIMEOUTS, VISIBILITY_TIMEOUTS, Queue
from queuesite.config import Config
from queuesite.errors import InvalidInput

#: Slots that one consumer can have: as many as MAX_CONCURRENCY may allow.
CONCURRENCIES = (1, 1_000)


@dataclass(frozen=True)
class QueueSettings:
    """A queue's definition, as a run uses it. A changed one may be applied while it runs."""

    name: str
    queue_url: str
    dlq_url: str | None
    fifo: bool
    concurrency: int
    handler: str
    handler_options: dict[str, Any]
    visibility_timeout: int
    max_receive_count: int
    #: Seconds that the handler may take for one message; None: what the handler itself says.
    timeout: float | None = None
    #: How long to be cautious (see `jobs.consumer.caution`), in seconds from when the settings are handed over.
    cautious: float = field(default=0.0, compare=False)
    #: Compared with the next reading, so that the worker notices that caution was prolonged.
    troubled_until: datetime | None = None

    def check(self) -> None:
        """Raise `InvalidInput` for a number that no run can work with: anybody may have written it to the database.

        A run without a slot would receive messages that nobody handles, again and again, up to their dead-letter queue.
        """
        for name, (low, high) in (
            ("concurrency", CONCURRENCIES),
            ("visibility_timeout", VISIBILITY_TIMEOUTS),
            ("max_receive_count", MAX_RECEIVE_COUNTS),
        ):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise self._unusable(name, f"a whole number from {low} to {high}")
        limit: Any = self.timeout
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit <= TIMEOUTS[1]
        ):
            raise self._unusable("timeout", f"above 0 and at most {TIMEOUTS[1]} seconds, or null for no limit")

    def _unusable(self, name: str, expected: str) -> InvalidInput:
        value = getattr(self, name)
        return InvalidInput(
            f"queue {self.name!r} has {name.replace('_', ' ')} {value!r}: expected {expected}; "
            "correct it in the admin or by the API",
            field=name,
        )

    @classmethod
    def of(cls, queue: Queue, now: datetime | None = None) -> QueueSettings:
        """The settings in a definition; `now` by the database's clock, which says for how long to be cautious."""
        troubled = queue.troubled_until
        return cls(
            name=queue.name,
            queue_url=queue.queue_url,
            dlq_url=queue.dlq_url,
            fifo=queue.fifo,
            concurrency=queue.concurrency,
            handler=queue.handler,
            handler_options=dict(queue.handler_options or {}),
            visibility_timeout=queue.visibility_timeout,
            max_receive_count=queue.max_receive_count,
            timeout=queue.timeout,
            cautious=0.0 if troubled is None or now is None else max(0.0, (troubled - now).total_seconds()),
            troubled_until=troubled,
        )


@dataclass(frozen=True)
class RunLimits:
    """How long a run waits, in seconds, and how large its process may grow."""

    idle: int
    linger: float
    memory_mb: int = 0
    #: How long handlers in flight get once the run must end because another is stuck, and messages that must not be
    #: given back when it ends for any reason.
    grace: float = 25.0

    @classmethod
    def of(cls, config: Config) -> RunLimits:
        """The limits in the configuration."""
        return cls(
            config.idle_seconds,
            config.delete_linger_ms / 1000,
            config.consumer_memory_mb,
            config.shutdown_grace_seconds,
        )
