"""The express lane's data plane: the hot operations, without botocore."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from queues.sqs.express import protocol, retries
from queues.sqs.express.connections import Connections, NotSent, Unanswered, Untrusted
from queues.sqs.express.endpoint import Credentials, Prepared
from queues.sqs.express.protocol import Call, Garbled, Refusal, answer_of
from queues.sqs.express.retries import Kind, Quota, ServerClock
from queues.sqs.express.wire import Answer, Letters
from queues.sqs.refusals import BatchFailure, bad_credentials, no_answer
from queues.sqs.values import NEEDED_ATTRIBUTES, Depth, OutgoingMessage, ReceivedMessage, SendResult
from queuesite.foundation.errors import SqsRejected

T = TypeVar("T")

#: How long SQS may stay silent, in seconds, beside what a receive waits for.
READ_SECONDS = 10.0


class ExpressTransport:
    """The data plane over connections of its own. Safe for many threads; make it after a fork."""

    def __init__(self, prepared: Prepared, credentials: Credentials, clock: ServerClock | None = None) -> None:
        self.address = prepared.address
        #: Requests made so far (repetitions not counted): what AWS bills.
        self.requests = 0
        self._lock = threading.Lock()
        self._credentials = credentials
        try:
            self._connections = Connections(prepared.url, proxy=prepared.proxy, ca_bundle=prepared.ca_bundle)
        except ValueError:  # its text may hold a password
            raise SqsRejected(
                "the address of the proxy (HTTPS_PROXY or HTTP_PROXY) is not valid; expected one like http://proxy:3128"
            ) from None
        self._letters = Letters(
            prepared.url, prepared.region, user_agent=prepared.user_agent, through=self._connections.forwarded
        )
        self._quota = Quota()
        self._clock = clock or ServerClock()

    def close(self) -> None:
        """Close its connections; requests that are under way still get their answers."""
        self._connections.close()

    def send(self, queue_url: str, messages: Sequence[OutgoingMessage]) -> SendResult:
        """Send up to 10 messages; to a standard queue only once, also if nobody knows whether it succeeded."""
        return self.run(protocol.send(queue_url, messages))

    def receive(
        self,
        queue_url: str,
        *,
        limit: int,
        wait: int,
        visibility: int | None = None,
        attempt_id: str | None = None,
        system: Sequence[str] = NEEDED_ATTRIBUTES,
    ) -> list[ReceivedMessage]:
        """Receive up to `limit` (1 to 10) messages, waiting up to `wait` seconds (0 to 20) for the first of them."""
        return self.run(
            protocol.receive(
                queue_url, limit=limit, wait=wait, visibility=visibility, attempt_id=attempt_id, system=system
            )
        )

    def delete(self, queue_url: str, receipt_handles: Sequence[str]) -> tuple[BatchFailure, ...]:
        """Delete up to 10 received messages; return the entries that SQS did not delete."""
        return self.run(protocol.delete(queue_url, receipt_handles))

    def change_visibility(self, queue_url: str, changes: Sequence[tuple[str, int]]) -> tuple[BatchFailure, ...]:
        """Hide up to 10 received messages for the given seconds (0 to 43,200) from now; return what was refused."""
        return self.run(protocol.change_visibility(queue_url, changes))

    def depth(self, queue_url: str) -> Depth:
        """How many messages the queue holds."""
        return self.run(protocol.depth(queue_url))

    def run(self, call: Call[T]) -> T:
        """Make a request, again if that may help and does no harm. Raises what `DataPlane` says."""
        with self._lock:
            self.requests += 1
        attempt = 0
        kind: Kind | None = None
        while True:
            attempt += 1
            last = kind
            retry_after = None
            try:
                answer = self._ask(call)
                result = answer_of(call, answer.status, answer.headers, answer.body)
            except Refusal as refusal:
                if self._clock.learn(refusal, answer.headers.get("date", "")) and attempt < 2:
                    continue
                if bad_credentials(refusal.code):
                    self._credentials.look_again()
                kind = retries.of_refusal(refusal, repeatable=call.repeatable)
                retry_after = answer.headers.get("x-amz-retry-after")
                error = refusal.error(self.address, call.queue_url)
                cause: Exception = refusal
            except Garbled as garbled:
                raise garbled.error(self.address) from garbled
            except Untrusted as untrusted:
                raise no_answer(self.address, str(untrusted)) from untrusted
            except (NotSent, Unanswered) as failure:
                lost = isinstance(failure, Unanswered) and not call.repeatable
                kind = None if lost else Kind.TRANSIENT
                error, cause = no_answer(self.address, "the messages may have been sent" if lost else ""), failure
            else:
                self._quota.success(last)
                return result
            if kind is None or attempt == retries.ATTEMPTS:
                raise error from cause
            pause = kind.pause(attempt, random.random(), retry_after)
            if not self._quota.spend(kind):
                if call.wait:  # as botocore does: nobody polls faster because of an outage
                    time.sleep(pause)
                raise error from cause
            time.sleep(pause)

    def _ask(self, call: Call[Any]) -> Answer:
        request = self._letters.write(call, self._credentials.get(), self._clock.now())
        return self._connections.ask(request, call.wait + READ_SECONDS, repeatable=call.repeatable)
