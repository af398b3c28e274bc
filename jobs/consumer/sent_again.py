"""Sending a message to its own queue once more, if its receives are used up and must not count."""

from __future__ import annotations

from jobs.consumer.held import Held
from jobs.consumer.settings import QueueSettings
from queues.sqs import MAX_DELAY_SECONDS, DataPlane, OutgoingMessage
from queuesite.foundation.errors import ServerError
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)


def send_again(gateway: DataPlane, queue: QueueSettings, held: Held, delay: int) -> bool:
    """Send a copy of `held` that is visible after `delay` seconds, 15 minutes at most; whether SQS confirmed it."""
    message = held.message
    copy = OutgoingMessage(message.body, dict(message.attributes), delay=min(delay, MAX_DELAY_SECONDS))
    try:
        failures = gateway.send(queue.queue_url, [copy]).failures
        error = f"{failures[0].code}: {failures[0].message}" if failures else None
    except ServerError as failure:
        error = str(failure)
    if error is not None:
        log.warning("message_not_sent_again", message_id=message.message_id, error=error)
        return False
    log.info(
        "message_sent_again",
        message_id=message.message_id,
        receive_count=message.receive_count,
        meaning="its receives were used up while a dependency was down",
    )
    return True
