"""Handlers of batches: what `@handler(…, batch=…, linger=…)` takes, and what their answers say of each message."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from queues.handlers.contract import Message, is_outcome

#: Most messages in a batch, and the longest time in which one is gathered, in seconds: a message waits meanwhile.
MOST_MESSAGES = 1_000
LONGEST_LINGER = 60.0
#: The key of AWS Lambda's answer for a batch.
LAMBDA_KEY = "batchItemFailures"


@dataclass(frozen=True)
class Batch:
    """How many messages a handler takes at once, at most, and for how many seconds they are gathered."""

    most: int
    linger: float = 0.0


class MessageBatch(list[Message]):
    """The messages that a handler of batches gets, in order; at least one."""

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self[0].queue

    @property
    def id(self) -> str:
        """The ids, shortened, for logs."""
        return self[0].id + (f" and {len(self) - 1} more" if len(self) > 1 else "")


class ItemFailed(Exception):
    """A handler of batches reported this message as failed."""


class WrongAnswer(Exception):
    """A handler of batches answered something that does not say what happened to its messages."""


#: The outcome of a message: an error, or an outcome's class.
Failure = BaseException | type[BaseException]


def batch(most: Any, linger: Any) -> Batch | None:
    """The batch that `batch=` and `linger=` ask for. Raises `ValueError`, whose text completes "@handler('name', "."""
    if most is None:
        if linger is not None:
            raise ValueError(f"linger={linger!r}): only a batch is gathered; add batch=, as in batch=100")
        return None
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MOST_MESSAGES:
        raise ValueError(f"batch={most!r}): expected a whole number of messages from 1 to {MOST_MESSAGES:,}")
    seconds = 0.0 if linger is None else linger
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds)
    if not number or not 0 <= seconds <= LONGEST_LINGER:
        raise ValueError(f"linger={linger!r}): expected 0 to {LONGEST_LINGER:g} seconds")
    return Batch(most, float(seconds))


def failures(answer: object, ids: Collection[str]) -> Mapping[str, Failure]:
    """The failed ones among the messages of these ids, by what a handler of batches answered.

    None means that all are done; `Retry`, `Reject` or `Unavailable`, that this is the outcome of all; a mapping has the
    id of each failed message with an exception, an outcome, or a text; Lambda's `{"batchItemFailures":
    [{"itemIdentifier": id}]}` is one too. Raises `WrongAnswer` for anything else, and for an id that is not of the
    batch.
    """
    if answer is None:
        return {}
    if is_outcome(answer):
        return dict.fromkeys(ids, answer)  # type: ignore[arg-type]  # see `is_outcome`
    if not isinstance(answer, Mapping):
        raise WrongAnswer(
            f"the handler returned {type(answer).__name__!r} for a batch: expected None if all is done, a mapping of "
            "the failed messages' ids, or Lambda's batchItemFailures"
        )
    found = _of_lambda(answer[LAMBDA_KEY]) if LAMBDA_KEY in answer else answer
    failed: dict[str, Failure] = {}
    for message_id, failure in found.items():
        if message_id not in ids:
            raise WrongAnswer(f"the handler reported {message_id!r} as failed, which is not a message of its batch")
        if failure is not None:
            failed[message_id] = _as_failure(message_id, failure)
    return failed


def _of_lambda(items: object) -> dict[Any, Failure]:
    if items is None:
        return {}
    if not isinstance(items, Iterable) or isinstance(items, str | bytes | Mapping):
        raise WrongAnswer(f"{LAMBDA_KEY} is {items!r}: expected a list of objects with an itemIdentifier each")
    found: dict[Any, Failure] = {}
    for item in items:
        if not isinstance(item, Mapping) or not isinstance(item.get("itemIdentifier"), str):
            raise WrongAnswer(f"{LAMBDA_KEY} has {item!r}: expected an object with the itemIdentifier of a message")
        found[item["itemIdentifier"]] = ItemFailed("the handler reported it as failed")
    return found


def _as_failure(message_id: str, failure: Any) -> Failure:
    if isinstance(failure, BaseException) or is_outcome(failure):
        return failure  # type: ignore[no-any-return]
    if isinstance(failure, type) and issubclass(failure, BaseException):
        return failure()
    if isinstance(failure, str):
        return ItemFailed(failure)
    raise WrongAnswer(
        f"the handler answered {failure!r} for {message_id!r}: expected an exception, Retry, Reject, Unavailable, "
        "a text, or None if it is done"
    )
