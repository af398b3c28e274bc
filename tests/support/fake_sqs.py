"""One queue of SQS in memory, with AWS's rules for visibility and a clock that tests set.

What it does as AWS does, and the emulators do not: the 12 hours of visibility count from the receive; a receipt handle
is of no use once its message is visible again on a FIFO queue, or was given out again; a FIFO group is blocked while
one of its messages is in flight; an attempt id asks for the same answer again.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from queues.sqs import MAX_VISIBILITY_SECONDS, BatchFailure, ReceivedMessage
from queues.sqs.gateway import SqsGateway
from queuesite.errors import ServerError, SqsUnavailable


@dataclass(eq=False)
class Stored:
    """A message in the queue."""

    id: str
    body: str
    group: str | None
    visible_at: float = 0.0
    received_at: float = 0.0
    receives: int = 0
    handle: str = ""


class FakeSqs:
    """`away` makes every request fail, `refuse` those of a kind, `lose_answers` the answers of that many receives."""

    def __init__(self, monotonic: Callable[[], float], *, fifo: bool = False) -> None:
        self._now = monotonic
        self._fifo = fifo
        self._lock = threading.Lock()
        self._handles = itertools.count(1)
        self._attempts: dict[str, list[Stored]] = {}
        self.messages: list[Stored] = []
        self.requests = 0
        self.away = False
        self.refuse: dict[str, ServerError] = {}
        self.lose_answers = 0
        #: Visibility timeouts that were set after a receive, by body.
        self.changes: list[tuple[str, int]] = []

    @property
    def real(self) -> SqsGateway:
        return cast(SqsGateway, self)

    def put(self, *bodies: str, group: str | None = None) -> None:
        with self._lock:
            for body in bodies:
                self.messages.append(Stored(f"id-{body}", body, group))

    @property
    def bodies(self) -> list[str]:
        with self._lock:
            return [stored.body for stored in self.messages]

    def receive(
        self, queue_url: str, *, limit: int, wait: int, visibility: int, attempt_id: str | None = None
    ) -> list[ReceivedMessage]:
        with self._lock:
            self._request("receive")
            now = self._now()
            given = self._attempts.get(attempt_id or "")
            if given is None:
                given = self._visible(now)[:limit]
                for stored in given:
                    stored.receives += 1
                    stored.received_at = now
                    stored.handle = f"handle-{next(self._handles)}"
                if attempt_id is not None:
                    self._attempts[attempt_id] = given
            for stored in given:
                stored.visible_at = now + visibility
            if self.lose_answers:
                self.lose_answers -= 1
                raise SqsUnavailable("the answer was lost")
        if not given and wait:
            time.sleep(0.02)  # stands for the long poll
        return [self._given_out(stored) for stored in given]

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        def delete(stored: Stored, _: Any) -> None:
            self.messages.remove(stored)

        return self._each([(handle, 0) for handle in receipt_handles], delete, "ReceiptHandleIsInvalid")

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        def change(stored: Stored, seconds: int) -> BatchFailure | None:
            if self._now() + seconds > stored.received_at + MAX_VISIBILITY_SECONDS:
                text = (
                    f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for "
                    "the message is beyond the limit [43200 seconds]"
                )
                return BatchFailure(0, "InvalidParameterValue", text, True)
            stored.visible_at = self._now() + seconds
            self.changes.append((stored.body, seconds))
            return None

        return self._each(changes, change, "MessageNotInflight")

    def _request(self, kind: str) -> None:
        self.requests += 1
        if self.away:
            raise SqsUnavailable("away")
        if kind in self.refuse:
            raise self.refuse[kind]

    def _visible(self, now: float) -> list[Stored]:
        blocked = {stored.group for stored in self.messages if self._fifo and stored.visible_at > now}
        return [stored for stored in self.messages if stored.visible_at <= now and stored.group not in blocked]

    def _each(
        self, entries: Sequence[tuple[str, int]], act: Callable[[Stored, int], BatchFailure | None], gone: str
    ) -> tuple[BatchFailure, ...]:
        with self._lock:
            self._request("settle")
            by_handle = {stored.handle: stored for stored in self.messages if stored.receives}
            failures = []
            for index, (handle, value) in enumerate(entries):
                stored = by_handle.get(handle)
                if stored is None or (self._fifo and stored.visible_at <= self._now()):
                    failures.append(BatchFailure(index, gone, "made up", True))
                elif (failure := act(stored, value)) is not None:
                    failures.append(BatchFailure(index, failure.code, failure.message, failure.sender_fault))
            return tuple(failures)

    @staticmethod
    def _given_out(stored: Stored) -> ReceivedMessage:
        system = {"ApproximateReceiveCount": str(stored.receives), "SentTimestamp": "1700000000000"}
        if stored.group is not None:
            system["MessageGroupId"] = stored.group
        return ReceivedMessage(stored.id, stored.handle, stored.body, {}, system)
