"""Keeps the attempts that consumers reported until MongoDB has taken them. They may be lost; nothing waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from jobs.attempts import AttemptReport
from jobs.repositories import attempts as repository
from jobs.repositories.attempts import Reported
from jobs.worker.runs import ActiveRun
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Attempts that are kept, and characters of their texts; the oldest make room for newer ones.
MOST_KEPT = 5_000
MOST_CHARACTERS = 16_000_000
#: Attempts that one flush writes: heartbeats must go on meanwhile.
MOST_WRITTEN = 1_000


class AttemptBuffer:
    """Attempts in the order in which they were reported."""

    def __init__(self, most: int = MOST_KEPT, characters: int = MOST_CHARACTERS) -> None:
        self._most = most
        self._most_characters = characters
        self._kept: deque[Reported] = deque()
        self._characters = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, attempts: Sequence[AttemptReport], dropped: int, run: ActiveRun, version: str | None) -> None:
        """Keep what a consumer reported of a run by this version of its handler, and how many it dropped."""
        self._dropped += dropped
        for attempt in attempts:
            self._kept.append(
                Reported(attempt, run.queue, run.assignment.job_id, run.worker_id, run.settings.handler, version)
            )
            self._characters += attempt.size
        while len(self._kept) > self._most or (self._characters > self._most_characters and len(self._kept) > 1):
            self._characters -= self._kept.popleft().attempt.size
            self._dropped += 1

    def flush(self) -> None:
        """Write the oldest. Raises pymongo's errors, and then keeps them."""
        if self._dropped:
            log.warning("attempts_dropped", count=self._dropped, meaning="more failed than can be recorded")
            self._dropped = 0
        some = [self._kept[place] for place in range(min(MOST_WRITTEN, len(self._kept)))]
        if some:
            repository.add(some)
            for one in some:
                self._kept.popleft()
                self._characters -= one.attempt.size
