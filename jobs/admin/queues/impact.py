"""What an action is about to do to the queues that it was chosen for, as the question before it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.admin.queues.actions import Question
from queues import services
from queues.models import Queue
from queues.patience import Patience
from queuesite.foundation.databases import mongodb_errors
from queuesite.foundation.errors import QueuesiteError


@dataclass(frozen=True)
class Impact:
    """How many of a queue's messages an action concerns."""

    queue: Queue
    messages: int
    #: Whether SQS counted them now. If it did not answer, the number is that of the last observation.
    known: bool
    #: What is said of it beside the number.
    note: str = ""


def impact(question: Question, queues: Sequence[Queue]) -> list[Impact]:
    """The impact on each queue, as SQS counts its messages now, as far as it does within a few seconds."""
    patience = Patience()
    return [_impact(question, queue, patience) for queue in queues]


def _impact(question: Question, queue: Queue, patience: Patience) -> Impact:
    if question.spares_adopted and not queue.managed:
        return Impact(queue, 0, known=True, note=question.spares_adopted)
    try:
        with mongodb_errors():
            size = patience.ask(lambda: services.size(queue.name))
    except QueuesiteError:
        return Impact(queue, question.concerns(queue.depth.total, queue.dead_letters), known=False)
    return Impact(queue, question.concerns(size.depth.total, size.dead_letters), known=True)
