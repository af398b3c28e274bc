"""SQS: values, the data plane's protocol, and the implementations of it.

- `values` and `refusals`: messages, counts, limits, and the meaning of SQS's error codes. They import only our errors.
- `data_plane`: the protocol that consumers and masters are written against.
- `express`: the data plane without boto3. `boto3_plane`: the same with it.
- `connection` and `preparation`: boto3's client and credentials, and what `express` needs of them.
- `gateway`: one of the two data planes, and everything else over boto3.
- `memory`: the data plane in memory, for tests.
- `batches`: sends of any size.

Importing this package does not import boto3, which takes 0.1 s of CPU; the first call of `get_gateway` does.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from queues.sqs.data_plane import DataPlane as DataPlane
from queues.sqs.refusals import BatchFailure as BatchFailure
from queues.sqs.values import MAX_BATCH as MAX_BATCH
from queues.sqs.values import MAX_DELAY_SECONDS as MAX_DELAY_SECONDS
from queues.sqs.values import MAX_MESSAGE_BYTES as MAX_MESSAGE_BYTES
from queues.sqs.values import MAX_VISIBILITY_SECONDS as MAX_VISIBILITY_SECONDS
from queues.sqs.values import MAX_WAIT_SECONDS as MAX_WAIT_SECONDS
from queues.sqs.values import NEEDED_ATTRIBUTES as NEEDED_ATTRIBUTES
from queues.sqs.values import PURPOSES as PURPOSES
from queues.sqs.values import Depth as Depth
from queues.sqs.values import OutgoingMessage as OutgoingMessage
from queues.sqs.values import ReceivedMessage as ReceivedMessage
from queues.sqs.values import SendResult as SendResult
from queues.sqs.values import redrive_policy as redrive_policy
from queuesite.foundation.config import get_config

if TYPE_CHECKING:
    from queues.sqs.express.endpoint import Prepared
    from queues.sqs.gateway import SqsGateway

_prepared: Prepared | None = None


def begin_with(prepared: Prepared | None) -> None:
    """Have `get_gateway` begin with what was found out before this process was forked. To be called before it."""
    global _prepared
    _prepared = prepared


@functools.cache
def get_gateway() -> SqsGateway:
    """The gateway of this process, made at the first call. Raises `SqsUnavailable` if no address is known."""
    from queues.sqs.gateway import SqsGateway

    return SqsGateway(get_config(), _prepared)
