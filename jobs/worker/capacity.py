"""How many consumers a worker runs at once: MAX_LOAD, or what somebody has asked for since it started."""

from __future__ import annotations

from jobs.models import EndReason
from jobs.worker.runs import Runs
from queuesite.foundation.config import Config
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


class Capacity:
    """A worker's capacity, which its document can change while it runs."""

    def __init__(self, config: Config) -> None:
        self._own = self.now = self.shown = config.max_load
        #: The most that may be asked for.
        self.limit = max(config.max_load, config.max_load_limit or 2 * config.max_load)
        #: What was asked for; None: nothing was.
        self.wanted: int | None = None

    def follow(self, wanted: int | None, runs: Runs) -> bool:
        """Take on what the worker's document asks for; whether that is another capacity than before.

        If it falls below what runs, the runs that began last make room: they finish what is in flight.
        """
        self.wanted = wanted
        before, self.now = self.now, self._own if wanted is None else max(1, min(wanted, self.limit))
        if self.now == before:
            return False
        log.info("capacity_changed", before=before, now=self.now)
        for run in [run for run in runs.active.values() if not run.ending][self.now :]:
            run.end(EndReason.YIELDED)
        return True
