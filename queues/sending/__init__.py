"""Sending from code: from a handler's function, or to a queue by name.

    orders.send(Order(number=1), delay=30)
    queues.send("orders", {"number": 1})

All that it needs is SQS (`AWS_SQS_ENDPOINT`) and the permission to send (`sqs:SendMessage`, and `sqs:GetQueueUrl`
unless MongoDB is configured or the queue is given by its URL). With MongoDB the queue is also woken, in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Unpack

from django.db import transaction

from queues.sending.destinations import Destination as Destination
from queues.sending.outgoing import Each as Each
from queues.sending.outgoing import Encode, check_names, each, outgoing, text_body
from queues.sending.outgoing import Options as Options
from queues.sending.transport import Item, get_transport
from queues.sending.transport import carried_by as carried_by
from queues.sqs import OutgoingMessage
from queues.sqs.batches import SendFailed as SendFailed
from queues.sqs.batches import SendReport as SendReport
from queuesite.foundation.errors import SqsRejected
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


def send(queue: str | Destination, body: Any, *, encode: Encode = text_body, **options: Unpack[Options]) -> str:
    """Send one message, and return its id in SQS.

    `queue` is a queue's name or URL; `body` is sent as it is if it is text, and as JSON else. Raises `InvalidInput` and
    `NotFound`, or `ServerError` if SQS fails; then, if its answer was lost, the message may have been sent.
    """
    check_names(options)
    return _send(_destination(queue), outgoing(body, encode, options))


def _send(to: Destination, message: OutgoingMessage) -> str:
    delivery = get_transport().send(to, [(0, message)])
    if (error := delivery.error or delivery.interrupted) is not None:
        raise error
    if delivery.refused is not None:
        raise delivery.refused.error
    if delivery.failures:
        raise SqsRejected(delivery.failures[0])
    return delivery.message_ids[0]


def send_many(
    queue: str | Destination, bodies: Iterable[Any], *, encode: Encode = text_body, **options: Unpack[Each]
) -> SendReport:
    """Send messages in batches, several at once; on a FIFO queue in order, up to the first that fails.

    An option may be a function that gets the body. The report has the failures by place, of bodies that do not fit as
    of those that SQS did not take; nothing is raised for them (see `SendReport.raise_for_failures`). Raises `NotFound`
    and the like before anything is sent. If `bodies` itself raises, `SendFailed` carries the report of those before.
    """
    check_names(options)
    delivery = get_transport().send(_destination(queue), _made(bodies, encode, options))
    if delivery.interrupted is not None:
        what = f"{type(delivery.interrupted).__name__}: {delivery.interrupted}"
        raise SendFailed(
            f"what was to be sent ended with {what}; {delivery.sent:,} messages were sent before", delivery
        ) from delivery.interrupted
    return delivery


def _made(bodies: Iterable[Any], encode: Encode, options: Each) -> Iterator[Item]:
    for place, body in enumerate(bodies):
        try:
            item: OutgoingMessage | Exception = outgoing(body, encode, each(body, options))
        except Exception as error:  # of the caller's own functions, too
            item = error
        yield place, item


def send_on_commit(
    queue: str | Destination,
    body: Any,
    *,
    using: str | None = None,
    encode: Encode = text_body,
    **options: Unpack[Options],
) -> None:
    """Send one message once the transaction of the database `using` is committed; at once if there is none.

    The message is made now: what is wrong with it is raised here, and what happens to `body` later does not matter. If
    SQS fails after the commit, that is logged as `send_on_commit_failed`, and later callbacks are still called.
    """
    check_names(options)
    to, message = _destination(queue), outgoing(body, encode, options)

    def committed() -> None:
        try:
            _send(to, message)
        except Exception as error:
            log.exception("send_on_commit_failed", queue=to.queue, handler=to.handler, error=str(error))

    transaction.on_commit(committed, using=using, robust=True)


async def asend(queue: str | Destination, body: Any, *, encode: Encode = text_body, **options: Unpack[Options]) -> str:
    """Send one message in a thread, so that the event loop goes on; as `send`."""
    return await asyncio.to_thread(lambda: send(queue, body, encode=encode, **options))


async def asend_many(
    queue: str | Destination, bodies: Iterable[Any], *, encode: Encode = text_body, **options: Unpack[Each]
) -> SendReport:
    """Send messages in threads, so that the event loop goes on; as `send_many`. `bodies` is read in a thread."""
    return await asyncio.to_thread(lambda: send_many(queue, bodies, encode=encode, **options))


def _destination(queue: str | Destination) -> Destination:
    return queue if isinstance(queue, Destination) else Destination(queue=queue)
