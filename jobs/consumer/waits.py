"""Bounds of the waits of a consumer's threads, in seconds: no wait is without one."""

from __future__ import annotations

#: After this, a thread that waits for a change looks again, even if nothing woke it.
LOOK_AGAIN_SECONDS = 5.0
#: How long to wait for a thread that is in a request to SQS: it is tried three times, for at most 35 s each (see
#: `queues.sqs.express` and `queues.sqs.connection`).
LONGEST_REQUEST_SECONDS = 120.0
