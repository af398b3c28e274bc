"""How a worker ends in order: its runs end within the grace, and then it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from jobs.models import DepartureReason, EndReason
from jobs.repositories import workers
from jobs.worker.runs import ActiveRun, Runs
from queuesite.foundation.errors import StaleTransition
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Seconds beyond the grace that a stop may take to record the ends of its runs; the master repairs what is not.
RECORD_SECONDS = 5.0


class Drain:
    """A worker's way out. Times are the monotonic clock's; `grace` is in seconds."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        #: When handlers that still run are killed, and when the worker ends whatever is left to record.
        self._kill_at = self._give_up_at = float("inf")
        self.begun = False
        self._announced = False
        #: All is recorded, and the worker has left.
        self.left = False

    def begin(self, runs: Runs, now: float) -> None:
        """End all runs."""
        log.info("worker_draining", runs=len(runs), grace_seconds=self._grace)
        self.begun = True
        self._kill_at = now + self._grace
        self._give_up_at = self._kill_at + RECORD_SECONDS
        for run in runs:
            run.end(EndReason.SHUTDOWN)

    def enforce_grace(self, runs: Iterable[ActiveRun], now: float) -> None:
        """Kill, once, the consumers that have not ended within the grace."""
        if now < self._kill_at:
            return
        self._kill_at = float("inf")
        for run in runs:
            if run.consumer is not None:
                log.error("grace_over", queue=run.queue.name, pid=run.consumer.pid, meaning="the consumer is killed")
                run.consumer.kill(f"its handlers did not end within the grace of {self._grace:g} s")

    def announce(self, worker_id: str) -> None:
        """Announce it to the masters, once, so that they assign nothing more. What they still assign is handed back."""
        if not self._announced:
            with suppress(StaleTransition):  # it was pruned, so it is given nothing anyway
                workers.drain(worker_id)
            self._announced = True

    def leave(self, worker_id: str | None, reason: DepartureReason) -> None:
        """Take the worker out (None: it is not registered); everything is recorded."""
        if worker_id is not None:
            workers.unregister(worker_id, reason)
        self.left = True

    def has_given_up(self, now: float) -> bool:
        """Whether MongoDB had its time to take what is left to record."""
        return now >= self._give_up_at

    @property
    def next_due(self) -> float:
        """When there is something to do next."""
        return min(self._kill_at, self._give_up_at)
