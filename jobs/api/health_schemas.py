"""How queues are, as the API returns it."""

from __future__ import annotations

from pydantic import Field

from queues.health.rules import PROBLEMS, Health, Problem, Tone
from queuesite.api.schemas import Out, Timestamp


class ProblemOut(Out):
    """Something that is wrong with a queue."""

    health: Health = Field(
        description="; ".join(f"{health}: {rule.meaning}" for health, rule in PROBLEMS.items()),
        examples=["failing"],
    )
    tone: Tone = Field(
        description="danger: messages are not processed as they should be; warning: somebody should look at it",
        examples=["danger"],
    )
    sentence: str = Field(examples=["8 of 20 attempts failed in the last 15 minutes"])
    since: Timestamp | None = Field(description="since when, if that is known")
    remedy: str = Field(description="what to do about it", examples=["Read the traceback."])

    @classmethod
    def of(cls, problem: Problem) -> ProblemOut:
        return cls(**vars(problem))


class OldestOut(Out):
    """The oldest message of a queue that is known of.

    SQS does not say it. What consumers hold has the time at which it was sent; of what waits, it is only known since
    when there has always been something while nobody worked at the queue.
    """

    sent_at: Timestamp
    at_least: bool = Field(description="whether messages wait that may be older", examples=[False])
