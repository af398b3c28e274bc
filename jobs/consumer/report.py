"""What a run did, as a value that goes through the pipe to its worker."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.models import EndReason


@dataclass(frozen=True)
class RunReport:
    """What a run did, or has done so far. Moments are the monotonic clock's, which all processes of a machine share."""

    reason: EndReason
    processed: int = 0
    failed: int = 0
    last_error: str | None = None
    #: When the queue was seen empty; None if it was not.
    empty_at: float | None = None
    #: How many of the failed attempts ran past their time limit.
    timed_out: int = 0
    #: Until when to handle the queue with caution; None if no message gave a reason for it.
    troubled_until: float | None = None
    #: When its first handler began, and its last one ended.
    first_start: float | None = None
    last_end: float | None = None
    #: A handler of it still runs, or one of its threads has died: the process must serve no other run.
    tainted: bool = False
    #: How long the queue backs off because the run tripped, in seconds.
    pause: float = 0.0
    #: The failures that its handler's breaker has counted, for the next run, since a time limit ended this one:
    #: moments, and how many at each.
    counted: tuple[tuple[float, int], ...] = ()
    #: Attempts for which the handler asked for a retry; they are not among the failed ones.
    retried: int = 0

    @property
    def attempts(self) -> int:
        """All attempts that ended."""
        return self.processed + self.failed + self.retried
