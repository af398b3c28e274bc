"""What the API says of attempts."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from jobs.attempt_model import Attempt
from jobs.attempts import AttemptOutcome
from queues.api.message_schemas import DeadLetterOut
from queues.sqs import ReceivedMessage
from queuesite.api.schemas import Id, Out, Timestamp


class AttemptSummary(Out):
    """An attempt at a message."""

    id: Id
    message_id: str = Field(examples=["b1946ac9-2d4f-4a7d-8f3e-5c2b1a0f9e8d"])
    queue_name: str = Field(examples=["orders"])
    job_id: Id
    worker: str = Field(examples=["host-1-4711-6f1d2c3b"])
    handler: str = Field(examples=["shop.orders"])
    handler_version: str | None = Field(examples=["2.1"])
    receive_count: int = Field(description="number of the attempt, by SQS's count", examples=[2])
    started_at: Timestamp
    waited: float | None = Field(description="seconds from the sending to the start, if known", examples=[1.25])
    seconds: float = Field(description="seconds in the handler; of a batch, the message's share", examples=[0.031])
    outcome: str = Field(
        description=", ".join(one if one == one.label else f"{one} ({one.label})" for one in AttemptOutcome),
        examples=["failed"],
    )
    error_type: str = Field(description="class of what was raised or answered", examples=["KeyError"])
    error: str = Field(examples=["KeyError: 'customer'"])
    fingerprint: str | None = Field(description="of its kind of failure, if it is one", examples=[None])
    dead_letter: bool = Field(description="whether the message became a dead letter by it", examples=[False])
    trace_id: str | None = Field(examples=["4bf92f3577b34da6a3ce929d0e0e4736"])

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        return cls(**{name: getattr(attempt, name) for name in cls.model_fields})


class AttemptOut(AttemptSummary):
    """An attempt, with what its handler logged."""

    log: str = Field(description="the last lines that it logged, up to 8 KiB", examples=["charging order 4711"])


class LetterOut(DeadLetterOut):
    """A dead letter, with the attempt that made it one."""

    attempt: AttemptSummary | None = Field(
        description="the last attempt that did not succeed; null: not recorded, or not shown without jobs.view_attempt"
    )

    @classmethod
    def with_error(cls, message: ReceivedMessage, attempt: Attempt | None) -> Self:
        """The answer for a received letter."""
        shown = DeadLetterOut.of(message)
        found = None if attempt is None else AttemptSummary.of(attempt)
        return cls(**{name: getattr(shown, name) for name in DeadLetterOut.model_fields}, attempt=found)


class LettersOut(Out):
    """Dead letters of a queue."""

    items: list[LetterOut]
