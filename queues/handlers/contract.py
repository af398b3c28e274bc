"""The types that a handler meets: the message it gets, and the outcomes it may choose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from queues.sqs import MAX_VISIBILITY_SECONDS, ReceivedMessage


@dataclass(frozen=True, slots=True)
class Message:
    """A message as its handler gets it."""

    #: SQS's id of the message.
    id: str
    #: The text that was sent, unchanged.
    body: str
    #: The queue's name, as it is defined here.
    queue: str
    #: How often it has been received, this time included; 1 at the first attempt. SQS calls it approximate.
    receive_count: int = 1
    #: When it was sent (UTC), by SQS's clock.
    sent_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: The message group, which messages to FIFO queues always have; None: none.
    group: str | None = None
    #: The sender's attributes: text for the types String and Number, bytes for Binary.
    attributes: Mapping[str, str | bytes] = field(default_factory=dict)
    #: What SQS wants for a deletion. Handlers do not delete: it is here to be logged and compared.
    receipt_handle: str = ""
    #: SQS's own attributes of the message that were asked for, under SQS's names.
    system: Mapping[str, str] = field(default_factory=dict)
    #: The queue's options for this handler, validated: an instance of the handler's options model, or None.
    options: BaseModel | None = None

    def json(self) -> Any:
        """The body, parsed as JSON. Raises `ValueError` if it is not JSON."""
        return json.loads(self.body)

    @classmethod
    def received(cls, message: ReceivedMessage, queue: str, options: BaseModel | None = None) -> Message:
        """The handler's view of a message that SQS gave out."""
        sent = int(message.system.get("SentTimestamp", "0"))
        return cls(
            id=message.message_id,
            body=message.body,
            queue=queue,
            receive_count=message.receive_count,
            sent_at=datetime.fromtimestamp(sent / 1000, UTC),
            group=message.group,
            attributes={
                name: value["BinaryValue"] if "BinaryValue" in value else value.get("StringValue", "")
                for name, value in message.attributes.items()
            },
            receipt_handle=message.receipt_handle,
            system=message.system,
            options=options,
        )


class Retry(Exception):
    """Have the message handled again after `delay` seconds (0 to 43,200), or after the usual backoff if it is None.

    A handler raises or returns it, as an instance or as the class. The attempt counts towards the queue's
    maxReceiveCount.
    """

    # Here as well, for a subclass that does not call this constructor.
    reason: str = ""
    delay: float | None = None

    def __init__(self, reason: str = "", *, delay: float | None = None) -> None:
        if delay is not None and not 0 <= delay <= MAX_VISIBILITY_SECONDS:
            raise ValueError(f"Retry(delay={delay!r}): expected 0 to {MAX_VISIBILITY_SECONDS} seconds (12 h), or None")
        self.reason = reason
        self.delay = delay
        super().__init__(reason or "retry requested")


class Unavailable(Exception):
    """Something that the handler needs is down: the fault is not the message's.

    A handler raises or returns it, as an instance or as the class. The run ends as `tripped`, the queue backs off for
    30 s, doubling up to 15 min and at least for `retry_after` seconds (0 to 43,200), and is then tried with one message
    at a time. On a standard queue the message does not go to the dead-letter queue because of it, however often.
    """

    # Here as well, for a subclass that does not call this constructor.
    dependency: str = ""
    retry_after: float | None = None

    def __init__(self, dependency: str = "", *, retry_after: float | None = None) -> None:
        if retry_after is not None and not 0 <= retry_after <= MAX_VISIBILITY_SECONDS:
            raise ValueError(
                f"Unavailable(retry_after={retry_after!r}): expected 0 to {MAX_VISIBILITY_SECONDS} seconds (12 h), "
                "or None"
            )
        self.dependency = dependency
        self.retry_after = retry_after
        super().__init__(f"{dependency or 'a dependency'} is unavailable")


class Reject(Exception):
    """Give the message up: it goes to the dead-letter queue at once, with `reason` as its attribute.

    A handler raises or returns it, as an instance or as the class. On a queue without a dead-letter queue the message
    is kept and retried, since dropping it would lose it.
    """

    reason: str = ""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "rejected")


#: What a handler raises or returns, as an instance or as the class, to choose what happens to its message.
OUTCOMES = (Retry, Reject, Unavailable)


def is_outcome(value: object) -> bool:
    """Whether a value is one of them."""
    return isinstance(value, OUTCOMES) or (isinstance(value, type) and issubclass(value, OUTCOMES))
