"""Attempts at messages as consumers report them and workers record them. Pure values that go through a pipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import TextChoices

#: Characters of an error's text that an attempt keeps, and of the name of its kind.
ERROR_CHARACTERS = 1_000
KIND_CHARACTERS = 200
#: About how much memory an attempt takes beside its texts, in characters.
_BASE = 600

# https://www.w3.org/TR/trace-context/#traceparent-header, and Sentry's header, which begins with the trace's id.
_TRACE = {"traceparent": re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-"), "sentry-trace": re.compile(r"([0-9a-f]{32})-")}
# https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
_X_RAY = re.compile(r"(?:^|;)\s*Root=1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})")


class AttemptOutcome(TextChoices):
    """What came of an attempt."""

    DONE = "done", "done"
    FAILED = "failed", "failed"
    RETRIED = "retried", "asked for a retry"
    REJECTED = "rejected", "rejected"
    TIMED_OUT = "timed-out", "timed out"
    UNAVAILABLE = "unavailable", "a dependency was down"
    CRASHED = "crashed", "its consumer died"


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt at a message. `started` is the monotonic clock's, which all processes of a machine share."""

    message_id: str
    receive_count: int
    outcome: AttemptOutcome
    started: float
    #: Seconds that the handler took; of a batch, the message's share.
    took: float
    #: Seconds from the moment that SQS got the message to the start; None if SQS did not say when that was.
    waited: float | None
    #: The class of what was raised or answered, and what it said; empty if it is done.
    error_type: str = ""
    error: str = ""
    #: The kind of failure (`jobs.failures.fingerprint`), if it is one.
    fingerprint: str | None = None
    #: The message goes to the dead-letter queue because of it, as far as is known.
    dead_letter: bool = False
    trace_id: str | None = None
    log: str = ""

    @property
    def size(self) -> int:
        """About how much memory it takes, in characters of text."""
        return _BASE + len(self.error) + len(self.log)


def trace_id_of(attributes: Mapping[str, Mapping[str, Any]], system: Mapping[str, str]) -> str | None:
    """The trace that a message was sent in (32 hexadecimal digits), by its attributes as SQS types them."""
    for name, pattern in _TRACE.items():
        value = attributes.get(name, {}).get("StringValue")
        if isinstance(value, str) and (found := pattern.match(value)) is not None:
            return found[1]
    found = _X_RAY.search(system.get("AWSTraceHeader", ""))
    return (found[1] + found[2]).lower() if found is not None else None
