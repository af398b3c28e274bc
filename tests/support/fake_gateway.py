"""A gateway that records its requests and returns prepared answers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from jobs.consumer.held import Held
from queues.sqs import MAX_BATCH, BatchFailure, ReceivedMessage
from queues.sqs.gateway import SqsGateway
from queuesite.foundation.errors import SqsUnavailable

URL = "http://sqs/orders"

Failures = tuple[BatchFailure, ...]


@dataclass
class FakeGateway:
    """Answers each request with the next of `answers`: failures or an error to raise. Without one, it succeeds."""

    deleted: list[list[str]] = field(default_factory=list)
    changed: list[list[tuple[str, int]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[str | None] = field(default_factory=list)
    answers: deque[Failures | Exception] = field(default_factory=deque)
    inbox: deque[list[ReceivedMessage] | Exception] = field(default_factory=deque)
    away: threading.Event = field(default_factory=threading.Event)

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> Failures:
        assert len(receipt_handles) <= MAX_BATCH
        self.deleted.append(list(receipt_handles))
        return self._answer()

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> Failures:
        assert len(changes) <= MAX_BATCH
        self.changed.append(list(changes))
        return self._answer()

    def receive(
        self,
        queue_url: str,
        *,
        limit: int,
        wait: int,
        visibility: int,
        attempt_id: str | None,
        system: Sequence[str],
    ) -> list[ReceivedMessage]:
        self.asked.append({"limit": limit, "wait": wait, "visibility": visibility})
        self.attempts.append(attempt_id)
        if not self.inbox:
            time.sleep(0.02)  # stands for the long poll
            return []
        answer = self.inbox.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _answer(self) -> Failures:
        if self.away.is_set():
            raise SqsUnavailable("away")
        answer = self.answers.popleft() if self.answers else ()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def real(self) -> SqsGateway:
        return cast(SqsGateway, self)


def refused(index: int, code: str = "InternalError", *, sender_fault: bool = False) -> BatchFailure:
    return BatchFailure(index, code, "made up", sender_fault)


def handles(messages: Sequence[Held]) -> list[str]:
    return [message.message.receipt_handle for message in messages]
