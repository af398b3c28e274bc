"""Reads of attempts, shared by the admin, the API and the command line, and what one box finds.

Functions raise `NotFound`, `InvalidInput` and pymongo's errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from jobs import reads
from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome
from jobs.models import Failure, Job
from jobs.repositories import attempts, failures
from queues import search
from queues.models import Queue
from queuesite.foundation.errors import InvalidInput, NotFound
from queuesite.foundation.pages import Cursor, cut

#: Attempts at one message that are shown.
MOST_OF_MESSAGE = 100
#: Things of each sort that one search finds, and the longest text that it looks for.
MOST_FOUND = 10
MOST_CHARACTERS = 200


def find(
    *,
    message: str | None = None,
    queue: str | None = None,
    job: str | None = None,
    handler: str | None = None,
    kind: str | None = None,
    outcome: str | None = None,
    text: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Attempt], str | None]:
    """A page of the attempts that match, the newest first, and the cursor of the next.

    `kind` is the fingerprint of a kind of failure, `text` a part of an error. They began at `since` or later, and
    before `until`. An index answers every page of each single filter but `text`.
    """
    if outcome is not None and outcome not in AttemptOutcome.values:
        raise InvalidInput(f"outcome {outcome!r}: expected one of {', '.join(AttemptOutcome.values)}", field="outcome")
    _check(text)
    named = _named(message, queue, job, handler, kind)
    if outcome is not None:
        named["outcome"] = outcome
    after = None if cursor is None else Cursor.decode(cursor, datetime)
    found = attempts.newest(
        named,
        limit + 1,
        text=text,
        since=since,
        until=until,
        behind=None if after is None else (after.value, after.id),
    )
    return cut(found, limit, lambda attempt: Cursor(attempt.started_at, attempt.id))


def count(
    *,
    message: str | None = None,
    queue: str | None = None,
    job: str | None = None,
    handler: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[AttemptOutcome, int]:
    """How many attempts match of each outcome, counted up to one more than `reads.MOST_COUNTED`."""
    named = _named(message, queue, job, handler, kind)
    return {
        one: attempts.count({**named, "outcome": one.value}, reads.MOST_COUNTED + 1, since=since, until=until)
        for one in AttemptOutcome
    }


def attempt(attempt_id: ObjectId) -> Attempt:
    """The attempt of this id."""
    return attempts.by_id(attempt_id)


def of_message(message_id: str) -> list[Attempt]:
    """The attempts at a message that are recorded, the first one first. Raises `NotFound` if none is."""
    found = attempts.at_messages([message_id], MOST_OF_MESSAGE)
    if not found:
        raise NotFound(
            f"no attempt at message {message_id[:100]!r} is recorded: it is waiting, it succeeded and was not sampled "
            "(SAMPLE_ONE_IN), or its record has expired"
        )
    return found


def kind_of(one: Attempt) -> Failure | None:
    """The kind of failure of an attempt; None if it is of none, or that has been resolved."""
    if one.fingerprint is None:
        return None
    return next(iter(failures.newest({"queueUrl": one.queue_url, "fingerprint": one.fingerprint}, 1)), None)


@dataclass(frozen=True)
class Found:
    """What one box finds, up to `MOST_FOUND` of each sort. What the caller may not see is empty."""

    queues: Sequence[Queue] = ()
    jobs: Sequence[Job] = ()
    messages: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    attempts: Sequence[Attempt] = ()

    def __bool__(self) -> bool:
        return bool(self.queues or self.jobs or self.messages or self.failures or self.attempts)


def search_all(text: str, may: Callable[[str], bool]) -> Found:
    """Queues by a part of their name, jobs and messages by their id, failures and attempts by what the error says.

    `may` says whether the caller has a permission. Raises `InvalidInput` for a text that is too long.
    """
    text = text.strip()
    if not text:
        return Found()
    _check(text, "q")
    may_attempts = may("jobs.view_attempt")
    at_message = attempts.at_messages([text], 1) if may_attempts else []
    return Found(
        queues=search.find_queues(containing=text, limit=MOST_FOUND)[0] if may("queues.view_queue") else (),
        jobs=_jobs(text) if may("jobs.view_job") else (),
        messages=[one.message_id for one in at_message],
        failures=failures.with_text(text, MOST_FOUND) if may("jobs.view_failure") else (),
        attempts=find(text=text, limit=MOST_FOUND)[0] if may_attempts and not at_message else (),
    )


def _named(
    message: str | None, queue: str | None, job: str | None, handler: str | None, kind: str | None
) -> dict[str, Any]:
    """The condition that these fields have these values. Raises `InvalidInput` if `job` is not an id."""
    if job is not None and not ObjectId.is_valid(job):
        raise InvalidInput(f"job {job[:50]!r}: expected 24 hexadecimal digits", field="job")
    named = {
        "messageId": message,
        "queueName": queue,
        "jobId": None if job is None else ObjectId(job),
        "handler": handler,
        "fingerprint": kind,
    }
    return {name: value for name, value in named.items() if value is not None}


def _check(text: str | None, field: str = "text") -> None:
    if text is None:
        return
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"the text has {len(text)} characters: expected at most {MOST_CHARACTERS}", field=field)
    if "\0" in text:  # MongoDB takes none in a pattern
        raise InvalidInput("the text has a null character: expected none", field=field)


def _jobs(text: str) -> list[Job]:
    if not ObjectId.is_valid(text):
        return []
    try:
        return [reads.job(ObjectId(text))]
    except NotFound:
        return []
