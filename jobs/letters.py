"""Dead letters and the attempts that made them: what the error was, and which letters are of one kind of failure.

A letter that SQS moved has its message's id; one that a handler rejected is a copy, and has that id as an attribute.
Letters whose attempts are not recorded any more are of no kind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome
from jobs.repositories import attempts
from queues import choosing
from queues.choosing import Choose
from queues.messages import Progress as Count
from queues.moving import message_id_of
from queues.sqs import ReceivedMessage
from queuesite.foundation.errors import InvalidInput
from queuesite.tasks import Progress, background

#: Length of a fingerprint.
_DIGITS = 32


def errors_of(letters: Sequence[ReceivedMessage]) -> dict[str, Attempt]:
    """The last attempt that did not succeed at each of these letters' messages, by the letter's own id."""
    ids = {letter.message_id: message_id_of(letter) for letter in letters}
    last: dict[str, Attempt] = {}
    for attempt in attempts.at_messages(ids.values()):  # the oldest first
        if attempt.outcome != AttemptOutcome.DONE:
            last[attempt.message_id] = attempt
    return {letter: last[message] for letter, message in ids.items() if message in last}


def of_kind(fingerprint: str) -> Choose:
    """Chooses letters whose last error is of this kind. Raises `InvalidInput` if it is not a fingerprint."""
    if len(fingerprint) != _DIGITS or not all(digit in "0123456789abcdef" for digit in fingerprint):
        raise InvalidInput(
            f"kind {fingerprint[:50]!r}: expected the fingerprint of a kind of failure, {_DIGITS} hexadecimal digits",
            field="kind",
        )

    def choose(letters: Sequence[ReceivedMessage]) -> Collection[str]:
        return {letter for letter, one in errors_of(letters).items() if one.fingerprint == fingerprint}

    return choose


def redrive_kind(queue: str, kind: str, progress: Count = lambda moved: None) -> int:
    """Move a queue's letters of one kind back to it; return how many."""
    return choosing.redrive(queue, of_kind(kind), progress)


def delete_kind(queue: str, kind: str, progress: Count = lambda deleted: None) -> int:
    """Delete a queue's letters of one kind; return how many."""
    return choosing.delete(queue, of_kind(kind), progress)


@background("redrive-kind")
def redrive_in_background(progress: Progress, queue: str, kind: str) -> dict[str, Any]:
    """Move a queue's letters of one kind back to it. If it is run again, it moves those that are left."""
    return {"queue": queue, "kind": kind, "moved": redrive_kind(queue, kind, progress.advance)}


@background("delete-kind")
def delete_in_background(progress: Progress, queue: str, kind: str) -> dict[str, Any]:
    """Delete a queue's letters of one kind. If it is run again, it deletes those that are left."""
    return {"queue": queue, "kind": kind, "deleted": delete_kind(queue, kind, progress.advance)}
