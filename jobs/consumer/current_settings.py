"""A run's settings at the moment, which may change while it runs, and what follows from them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobs.consumer.demand import prefetch
from jobs.consumer.meter import Meter
from jobs.consumer.settings import QueueSettings
from jobs.consumer.turn import HandlerSpec
from jobs.consumer.windows import window
from queues.handlers import registry


class CurrentSettings:
    """Replaced as a whole, by one thread at a time, and read by all."""

    def __init__(self, settings: QueueSettings, meter: Meter) -> None:
        """Raise `InvalidInput` if the settings cannot work, see `spec_of`."""
        self._meter = meter
        self._changing = threading.Lock()
        self.spec = spec_of(settings)
        self.queue = settings

    def replace(self, settings: QueueSettings) -> None:
        """Follow changed settings; the URL stays. Raises `InvalidInput`, and changes nothing then."""
        with self._changing:
            self._replace(settings)

    def follow(self, found: Mapping[str, Any]) -> list[str]:
        """Follow what SQS holds of a queue that others own; the names of those that changed. Raises as `replace`."""
        with self._changing:
            changed = {
                name: value
                for name, value in found.items()
                if hasattr(self.queue, name) and getattr(self.queue, name) != value
            }
            if changed:
                self._replace(replace(self.queue, **changed))
        return sorted(changed)

    def _replace(self, settings: QueueSettings) -> None:
        self.spec = spec_of(settings)
        self.queue = replace(settings, queue_url=self.queue.queue_url)

    @property
    def fifo(self) -> bool:
        """Whether the queue is a FIFO queue."""
        return self.queue.fifo

    def window(self, held_for: float = 0.0) -> int:
        """For how many seconds to hide a message that has been held for so many."""
        queue = self.queue
        return window(queue.visibility_timeout, held_for, queue.max_receive_count)

    def prefetch(self) -> int:
        """How many messages to hold beyond those in the slots."""
        queue = self.queue
        batch = self.spec.handler.batch
        most = 1 if batch is None else batch.most
        return prefetch(queue.concurrency, self._meter.mean_seconds, queue.max_receive_count, most)


def spec_of(settings: QueueSettings) -> HandlerSpec:
    """What the slots do with a message.

    Raises `InvalidInput` if the handler is not registered, its options do not fit, its middleware cannot be built, or a
    run cannot work with a number.
    """
    settings.check()
    handler = registry.get(settings.handler)
    _ = handler.attempt  # built now, so that what is wrong with middleware ends the run and not each attempt
    timeout = settings.timeout if settings.timeout is not None else handler.timeout
    return HandlerSpec(settings.name, handler, handler.parse_options(settings.handler_options), timeout)
