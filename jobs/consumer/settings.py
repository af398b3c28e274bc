"""What a consumer needs to know of its queue and of its run; plain values that go through a pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from queues.handlers.retrying import LONGEST_WITHIN
from queues.models import Queue
from queues.settings import SETTINGS, Settings, is_whole
from queuesite.foundation.config import Config
from queuesite.foundation.errors import InvalidInput


@dataclass(frozen=True)
class QueueSettings(Settings):
    """A queue's definition, as a run uses it. A changed one may be applied while it runs.

    Two are equal if they agree in everything that a run follows.
    """

    name: str
    queue_url: str
    dlq_url: str | None
    fifo: bool
    #: How long to be cautious (see `jobs.consumer.caution`), in seconds from when the settings are handed over.
    cautious: float = field(default=0.0, compare=False)
    #: Whether it is Queuesite's own, and its AWS region if it is not (None: the configured one).
    managed: bool = field(default=True, compare=False)
    region: str | None = field(default=None, compare=False)
    #: Compared with the next reading, so that the worker notices that caution was prolonged.
    troubled_until: datetime | None = None
    #: Runs in a row that tripped: if there are any, the run tries one message at a time until one is handled.
    trips: int = field(default=0, compare=False)
    #: Failures that a breaker counted in runs that a time limit ended: how many seconds ago, and how many.
    counted: tuple[tuple[float, int], ...] = field(default=(), compare=False)

    def is_last_receive(self, receive_count: int) -> bool:
        """Whether SQS moves a message to the dead-letter queue when it is visible again after this receive."""
        return self.dlq_url is not None and receive_count >= self.max_receive_count

    def check(self) -> None:
        """Raise `InvalidInput` for a number that no run can work with: anybody may have written it to the database.

        A run without a slot would receive messages that nobody handles, again and again, up to their dead-letter queue.
        The limits are the declared ones: the worker compared the queue with MAX_CONCURRENCY when it read it.
        """
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if not setting.followed or setting.limits is None or (value is None and setting.optional):
                continue
            low, high = setting.limits
            if not is_whole(value, low, high):
                raise InvalidInput(
                    f"queue {self.name!r} has {setting.words} {value!r}: expected a whole number from {low} to {high}; "
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
            cautious=0.0 if troubled is None or now is None else max(0.0, (troubled - now).total_seconds()),
            managed=queue.managed,
            region=queue.region,
            troubled_until=troubled,
            trips=queue.trip_count,
            counted=() if now is None else _counted(queue, now),
            **{name: getattr(queue, name) for name in SETTINGS},
        )


def _counted(queue: Queue, now: datetime) -> tuple[tuple[float, int], ...]:
    """What `queues.tripping.counted` recorded, and is not too old for any breaker. Malformed entries are absent."""
    found = []
    for entry in queue.counted_failures if isinstance(queue.counted_failures, list) else ():
        match entry:
            case [int() | float() as moment, int() as number]:
                if (ago := max(0.0, now.timestamp() - moment)) <= LONGEST_WITHIN:
                    found.append((ago, number))
    return tuple(found)


@dataclass(frozen=True)
class RunLimits:
    """How long a run waits, in seconds, and how large its process may grow."""

    idle: int
    linger: float
    memory_mb: int = 0
    #: How long handlers in flight get once the run must end because another is stuck, and messages that must not be
    #: given back when it ends for any reason.
    grace: float = 25.0
    #: One of so many successful attempts is recorded, for queues that do not say; 0: none.
    sample_one_in: int = 0

    @classmethod
    def of(cls, config: Config) -> RunLimits:
        """The limits in the configuration."""
        return cls(
            config.idle_seconds,
            config.delete_linger_ms / 1000,
            config.consumer_memory_mb,
            config.shutdown_grace_seconds,
            config.sample_one_in,
        )
