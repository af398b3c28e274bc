"""How people name a queue in SQS that is not defined here: by its name, its URL or its ARN. Pure.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html and
https://docs.aws.amazon.com/general/latest/gr/sqs-service.html (the hosts of URLs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from queues import naming
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.rules import is_aws

_ACCOUNT = re.compile(r"\d{12}")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
_PARTITION = re.compile(r"aws(-[a-z]+)*")


@dataclass(frozen=True)
class Source:
    """A queue in SQS. `account` None: that of the credentials; `region` None: the configured one."""

    name: str
    account: str | None = None
    region: str | None = None

    def __str__(self) -> str:
        where = [f"account {self.account}"] if self.account else []
        where += [f"region {self.region}"] if self.region else []
        return f"{self.name!r}" + (f" ({', '.join(where)})" if where else "")


def parse(text: str) -> Source:
    """The queue that a name, URL or ARN names. Raises `InvalidInput` with the field `queue`."""
    if text.startswith("arn:"):
        return of_arn(text)
    if "://" in text:
        return _of_url(text)
    naming.check(text, field="queue")
    return Source(text)


def of_arn(text: str) -> Source:
    """The queue of an ARN. Raises `InvalidInput` with the field `queue`."""
    parts = text.split(":")
    if len(parts) > 2 and parts[0] == "arn" and parts[2] != "sqs":
        raise InvalidInput(
            f"{text!r} is an ARN of {parts[2] or 'no service'}: expected one of SQS, arn:aws:sqs:REGION:ACCOUNT:NAME",
            field="queue",
        )
    if (
        len(parts) != 6
        or parts[0] != "arn"
        or not _PARTITION.fullmatch(parts[1])
        or not _REGION.fullmatch(parts[3])
        or not _ACCOUNT.fullmatch(parts[4])
    ):
        raise InvalidInput(f"{text!r} is not an ARN: expected arn:aws:sqs:REGION:ACCOUNT:NAME", field="queue")
    naming.check(parts[5], field="queue")
    return Source(parts[5], parts[4], parts[3])


def check_region(text: str) -> None:
    """Raise `InvalidInput` with the field `region` for what is not a region's name."""
    if not _REGION.fullmatch(text):
        raise InvalidInput(f"region {text!r} is not valid: expected one such as eu-west-1", field="region")


def _of_url(text: str) -> Source:
    """The URL only names the queue: requests go to the configured address, whatever its host is."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        raise _not_a_url(text) from None
    account, _, name = parts.path.strip("/").rpartition("/")
    account = account.rpartition("/")[2]
    if parts.scheme not in {"http", "https"} or not host or not _ACCOUNT.fullmatch(account):
        raise _not_a_url(text)
    labels = host.split(".")
    if is_aws(host) and not any(label.startswith(("sqs", "queue")) for label in labels):
        raise InvalidInput(f"{text!r} is a URL of another service: expected one of SQS", field="queue")
    naming.check(name, field="queue")
    # LocalStack may have the region in the path: http://localhost:4566/queue/REGION/ACCOUNT/NAME.
    regions = [label for label in (*labels, *parts.path.split("/")[:-2]) if _REGION.fullmatch(label)]
    region = regions[-1] if regions else "us-east-1" if host == "queue.amazonaws.com" else None
    return Source(name, account, region)


def _not_a_url(text: str) -> InvalidInput:
    return InvalidInput(
        f"{text!r} is not the URL of a queue: expected https://sqs.REGION.amazonaws.com/ACCOUNT/NAME", field="queue"
    )
