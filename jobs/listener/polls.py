"""Which queue is polled when: one open poll for each queue that is held, one after another. No sockets, no clock."""

from __future__ import annotations

import random
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jobs.consumer.held import Batch
from jobs.consumer.receiver import ATTEMPT_SECONDS
from jobs.listener.orders import Target
from jobs.listening import POLL_SECONDS
from queues.naming import is_fifo
from queues.sqs import MAX_BATCH, NEEDED_ATTRIBUTES, ReceivedMessage
from queues.sqs.express import protocol
from queuesite.foundation.errors import QueueMissing, QueuesiteError, SqsUnavailable
from queuesite.foundation.logs import get_logger
from queuesite.foundation.outage import Outage

log = get_logger(__name__)

#: Most polls that are begun in one step: after an outage a thousand queues must not hold up what has come.
BEGUN_AT_ONCE = 50
#: Pause of a queue after SQS has refused a poll of it, in seconds: a permission is missing, its key is disabled.
REFUSED_SECONDS = 30.0

#: Makes a request and calls back with the result or the error; see `queues.sqs.express.multiplexer`.
Request = Callable[[protocol.Call[Any], Callable[[Any, QueuesiteError | None], None]], None]


@dataclass(eq=False, slots=True)
class _Poll:
    """A queue that is held, or whose last poll is still open."""

    target: Target
    wanted: bool = True
    open: bool = False
    queued: bool = False
    not_before: float = 0.0
    #: On a FIFO queue: the attempt that SQS knows the receive by, until when it may be repeated, and its window.
    attempt_id: str | None = None
    repeatable_until: float = 0.0


class Polls:
    """The polls of a listener. Times are the monotonic clock's."""

    def __init__(
        self,
        request: Request,
        brought: Callable[[Batch], None],
        missing: Callable[[str], None],
        monotonic: Callable[[], float],
        heard_from: Callable[[], float] | None = None,
        system: Sequence[str] = NEEDED_ATTRIBUTES,
    ) -> None:
        """`heard_from` answers since when the process has heard nothing; `system` see `DataPlane.receive`.

        Visibility counts from then: a process that was frozen finds answers that had come long before.
        """
        self._system = system
        self._heard_from = heard_from or monotonic
        self._request = request
        self._brought = brought
        self._missing = missing
        self._monotonic = monotonic
        self._polls: dict[str, _Poll] = {}
        self._ready: deque[_Poll] = deque()
        self._outage = Outage("SQS (listen)", monotonic)
        self._paused_until = 0.0
        #: A poll that finds out whether SQS is back, while none else is begun.
        self._probe: _Poll | None = None
        self._refused: set[str] = set()
        self.open = 0
        #: Requests since they were last taken, by queue and purpose.
        self.requests: Counter[tuple[str, str]] = Counter()

    def hold(self, add: Iterable[Target], drop: Iterable[str]) -> None:
        """Listen to queues, and to others no longer; their open polls go on."""
        for url in drop:
            poll = self._polls.get(url)
            if poll is not None:
                poll.wanted = False
                self._forget(poll)
        for target in add:
            poll = self._polls.setdefault(target.queue_url, _Poll(target))
            poll.target, poll.wanted = target, True
            self._make_ready(poll)

    def give_back(self, batch: Batch) -> None:
        """Make messages visible again. If SQS does not do it, their visibility runs out."""
        self.requests[batch.queue_url, "visibility"] += 1
        changes = [(message.receipt_handle, 0) for message in batch.messages]
        self._request(protocol.change_visibility(batch.queue_url, changes), partial(self._given_back, batch))

    def _given_back(self, batch: Batch, failures: Any, error: QueuesiteError | None) -> None:
        if error is not None or failures:
            reason = str(error) if error is not None else "; ".join(one.text for one in failures)
            log.warning("messages_not_given_back", queue_url=batch.queue_url, error=reason[:300])

    def begin_due(self) -> float:
        """Begin the polls that are due; in how many seconds there is more to do."""
        now = self._monotonic()
        if now < self._paused_until:
            return self._paused_until - now
        later: list[_Poll] = []
        soonest = 60.0
        begun = 0
        for _ in range(len(self._ready)):
            if begun >= BEGUN_AT_ONCE or (self._outage.active and self._probe is not None):
                break
            poll = self._ready.popleft()
            poll.queued = False
            if not poll.wanted or poll.open:
                self._forget(poll)
            elif poll.not_before > now:
                soonest = min(soonest, poll.not_before - now)
                later.append(poll)
            else:
                begun += 1
                if self._outage.active:
                    self._probe = poll
                self._begin(poll, now)
        for poll in later:
            self._make_ready(poll)
        return 0.0 if begun >= BEGUN_AT_ONCE else soonest

    def _make_ready(self, poll: _Poll) -> None:
        if not poll.queued and not poll.open:
            poll.queued = True
            self._ready.append(poll)

    def _forget(self, poll: _Poll) -> None:
        if not poll.wanted and not poll.open and not poll.queued:
            self._polls.pop(poll.target.queue_url, None)

    def _begin(self, poll: _Poll, now: float) -> None:
        url = poll.target.queue_url
        if is_fifo(url) and (poll.attempt_id is None or now >= poll.repeatable_until):
            poll.attempt_id, poll.repeatable_until = uuid.uuid4().hex, now + ATTEMPT_SECONDS
        poll.open = True
        self.open += 1
        self.requests[url, "listen"] += 1
        call = protocol.receive(
            url,
            limit=MAX_BATCH,
            wait=POLL_SECONDS,
            visibility=poll.target.window,
            attempt_id=poll.attempt_id,
            system=self._system,
        )
        self._request(call, partial(self._ended, poll, now, poll.target.window))

    def _ended(
        self,
        poll: _Poll,
        asked_at: float,
        window: int,
        found: list[ReceivedMessage] | None,
        error: QueuesiteError | None,
    ) -> None:
        now = self._monotonic()
        poll.open = False
        self.open -= 1
        if self._probe is poll:
            self._probe = None
        if isinstance(error, SqsUnavailable):
            # The answer may be lost: a FIFO queue gives the same messages to a repeated attempt.
            self._paused_until = max(self._paused_until, now + self._outage.failed(error))
        else:
            poll.attempt_id = None
            self._outage.over()
            if error is not None:
                self._refuse(poll, now, error)
            else:
                self._refused.discard(poll.target.queue_url)
            if found:
                poll.wanted = False
                answered_at = max(asked_at, min(now, self._heard_from()))
                target = poll.target
                self._brought(Batch(target.queue_id, target.queue_url, tuple(found), asked_at, answered_at, window))
        if poll.wanted:
            self._make_ready(poll)
        else:
            self._forget(poll)

    def _refuse(self, poll: _Poll, now: float, error: QueuesiteError) -> None:
        url = poll.target.queue_url
        poll.not_before = now + REFUSED_SECONDS * random.uniform(0.8, 1.2)
        if isinstance(error, QueueMissing):
            poll.wanted = False
            self._missing(url)
        elif url not in self._refused:
            self._refused.add(url)
            log.warning("listening_refused", queue_url=url, error=str(error)[:300], again_after=REFUSED_SECONDS)
