"""What SQS holds of a queue that others own, as the settings here have it. It is read and followed, never written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from queues import sources
from queues.naming import name_of
from queues.settings import SETTINGS
from queuesite.foundation.errors import InvalidInput, SqsRejected

if TYPE_CHECKING:
    from queues.sqs.gateway import SqsGateway


def read(gateway: SqsGateway, queue_url: str, known_dlq: str | None = None) -> dict[str, Any]:
    """The values of a queue's attributes, by the names of the model's fields.

    It takes one request, and another if the dead-letter queue is not `known_dlq`. Without a redrive policy `dlq_url` is
    None and `max_receive_count` the default, which then means nothing. Raises `ServerError`: `QueueMissing` if SQS does
    not have the queue, `SqsRejected` if it does not have the dead-letter queue that the policy names.
    """
    attributes = gateway.attributes(queue_url)
    dlq_url, most = _redrive(gateway, queue_url, attributes.get("RedrivePolicy", ""), known_dlq)
    fifo = attributes.get("FifoQueue") == "true"
    held = {
        name: one.sqs.value(attributes)
        for name, one in SETTINGS.items()
        if one.sqs is not None and (fifo or not one.fifo_only)
    }
    return {
        "queue_arn": attributes["QueueArn"],
        **held,
        "max_receive_count": most,
        "dlq_url": dlq_url,
        "retention_seconds": _number(attributes, "MessageRetentionPeriod"),
        "max_message_bytes": _number(attributes, "MaximumMessageSize"),
    }


def _number(attributes: dict[str, str], name: str) -> int | None:
    return int(attributes[name]) if name in attributes else None


def _redrive(gateway: SqsGateway, queue_url: str, text: str, known_dlq: str | None) -> tuple[str | None, int]:
    if not text:
        return None, SETTINGS["max_receive_count"].declared_default()
    try:
        policy = json.loads(text)
        target, most = sources.of_arn(policy["deadLetterTargetArn"]), int(policy["maxReceiveCount"])
    except (ValueError, TypeError, KeyError, InvalidInput):
        raise _unusable(f"the redrive policy of {queue_url} is not one of SQS's: {text[:200]}") from None
    # Both queues are in one account and region.
    if known_dlq is not None and name_of(known_dlq) == target.name:
        return known_dlq, most
    url = gateway.queue_url(target.name, target.account)
    if url is None:
        raise _unusable(
            f"the redrive policy of {queue_url} names the dead-letter queue {target}, which SQS does not have or does "
            "not show to these credentials: have its owner fix the policy, or allow sqs:GetQueueUrl"
        )
    return url, most


def _unusable(message: str) -> SqsRejected:
    return SqsRejected(message, public=message)
