"""SQS's rules for the names of queues. Pure.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html: 1 to 80 characters,
letters, digits, hyphens and underscores; a FIFO queue's name ends in `.fifo`, which counts towards the 80.
"""

from __future__ import annotations

import re

from queuesite.foundation.errors import InvalidInput

MAX_LENGTH = 80
FIFO_SUFFIX = ".fifo"
PATTERN = r"[A-Za-z0-9_-]+(\.fifo)?"
_ALLOWED = re.compile(PATTERN)


def is_fifo(name: str) -> bool:
    """Whether a queue of this name is a FIFO queue."""
    return name.endswith(FIFO_SUFFIX)


def name_of(queue_url: str) -> str:
    """The name that a queue's URL ends in."""
    return queue_url.rstrip("/").rpartition("/")[2]


def dead_letter_name(name: str) -> str:
    """The name of a queue's dead-letter queue. That of a FIFO queue must be FIFO itself."""
    if is_fifo(name):
        return f"{name.removesuffix(FIFO_SUFFIX)}-dlq{FIFO_SUFFIX}"
    return f"{name}-dlq"


def dead_letter_source(name: str) -> str | None:
    """The name of the queue whose dead-letter queue would have this name, or None."""
    suffix = FIFO_SUFFIX if is_fifo(name) else ""
    base = name.removesuffix(suffix)
    return base.removesuffix("-dlq") + suffix if base.endswith("-dlq") and base != "-dlq" else None


def check(name: str, *, field: str = "name") -> None:
    """Raise `InvalidInput` unless SQS takes the name."""
    if len(name) > MAX_LENGTH or not _ALLOWED.fullmatch(name):
        raise InvalidInput(
            f"queue name {name!r} is not valid: expected 1 to 80 letters, digits, hyphens and underscores, "
            "with .fifo at the end for a FIFO queue",
            field=field,
        )


def validate_name(name: str, *, prefix: str = "", with_dlq: bool = True) -> None:
    """Raise `InvalidInput` unless SQS takes `prefix + name`, and the dead-letter queue's name if there is to be one."""
    check(name)
    longest = prefix + (dead_letter_name(name) if with_dlq else name)
    if len(longest) > MAX_LENGTH:
        raise InvalidInput(
            f"queue name {name!r} is too long: {longest!r}, as it is in SQS, has {len(longest)} characters, "
            f"and at most {MAX_LENGTH} are allowed",
            field="name",
        )
