"""Where messages go: from a queue's name, its URL or a handler to its URL in SQS, with or without MongoDB.

A process that sends may have no MongoDB (`MONGODB_URI` is not set), or may find it away. The URL then comes from SQS
(GetQueueUrl). What was found is kept for a while, and for longer if nothing newer can be had.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from queues import sources
from queues.naming import is_fifo
from queues.sqs import get_gateway
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import InvalidInput, MongoUnavailable, NotFound, ServerError
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.optional_mongodb import OptionalMongoDB

#: How long an answer is used before it is asked for again, in seconds.
KEPT_SECONDS = 60.0
#: The collection of queues.
QUEUES = "queues"


@dataclass(frozen=True)
class Destination:
    """Where a message is to go: a queue's name or URL, or else the queue that has this handler."""

    queue: str | None = None
    handler: str | None = None


@dataclass(frozen=True)
class Target:
    """A queue that was found."""

    name: str
    url: str
    #: Its AWS region; None: the configured one.
    region: str | None = None
    #: The largest message that it takes; None: SQS's limit, as far as is known.
    max_message_bytes: int | None = None
    #: A FIFO queue whose messages need no deduplication id.
    content_based: bool = False

    @property
    def fifo(self) -> bool:
        """Whether it is a FIFO queue."""
        return is_fifo(self.url)


class Directory:
    """Finds queues. Safe for threads: the worst that two can do is ask twice."""

    def __init__(self) -> None:
        self._found: dict[Destination, tuple[Target, float]] = {}
        self.mongodb = OptionalMongoDB()

    def find(self, to: Destination) -> Target:
        """The queue. Raises `NotFound`, `InvalidInput` if several queues have the handler, `ServerError`."""
        if to.queue is not None and to.queue.startswith(("https://", "http://")):
            return _by_url(to.queue)
        known = self._found.get(to)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        try:
            target = self._look_up(to)
        except MongoUnavailable:  # only without a name, which SQS knows as well
            if known is None:
                raise
            target = known[0]
        self._found[to] = target, time.monotonic() + KEPT_SECONDS
        return target

    def forget(self, url: str) -> None:
        """Look this queue up again next time: SQS says that it does not exist."""
        self._found = {to: kept for to, kept in self._found.items() if kept[0].url != url}

    def _look_up(self, to: Destination) -> Target:
        if to.queue is not None:
            return self._by_name(to.queue)
        assert to.handler is not None
        return self._by_handler(to.handler)

    def _by_name(self, name: str) -> Target:
        try:
            documents = self.mongodb.ask(QUEUES, lambda queues: list(queues.find({"name": name}, _FIELDS)))
        except MongoUnavailable:
            documents = None
        if documents:
            return _target(documents[0])
        # Without the definition, or without the right to see it, SQS says whether there is such a queue.
        url = get_gateway().queue_url(get_config().queue_name_prefix + name) if documents is None else None
        if url is None:
            raise NotFound(f"there is no queue {name!r} to send to")
        return Target(name, url, content_based=is_fifo(name) and _content_based(url))

    def _by_handler(self, handler: str) -> Target:
        documents = self.mongodb.ask(
            QUEUES, lambda queues: list(queues.find({"handler": handler}, _FIELDS).sort("name").limit(4))
        )
        if documents is None:
            try:
                return self._by_name(handler)
            except NotFound:
                raise NotFound(
                    f"without MongoDB, handler {handler!r} sends to the queue of its own name, which does not exist; "
                    "name the queue: @handler(…, queue='NAME'), or send(…, queue='NAME')"
                ) from None
        if not documents:
            raise NotFound(
                f"no queue has the handler {handler!r}; create one ({PROGRAM} sqs create NAME --handler {handler}), or "
                "name a queue: send(…, queue='NAME')"
            )
        if len(documents) > 1:
            names = ", ".join(one["name"] for one in documents[:3]) + (", …" if len(documents) > 3 else "")
            raise InvalidInput(
                f"several queues have the handler {handler!r} ({names}); name one: send(…, queue='NAME')", field="queue"
            )
        return _target(documents[0])


#: `queueArn` only a queue that others own has, which may be in another region.
_FIELDS: dict[str, Any] = {
    "name": 1, "queueUrl": 1, "queueArn": 1, "maxMessageBytes": 1, "contentBasedDeduplication": 1,
}  # fmt: skip


def _target(document: Mapping[str, Any]) -> Target:
    arn = document.get("queueArn")
    return Target(
        str(document["name"]),
        str(document["queueUrl"]),
        sources.of_arn(arn).region if arn else None,
        document.get("maxMessageBytes"),
        document.get("contentBasedDeduplication") is True,
    )


def _content_based(url: str) -> bool:
    """What SQS says of a FIFO queue; no to those who may only send, since an id of its own fits every message."""
    attribute = "ContentBasedDeduplication"
    try:
        return get_gateway().attributes(url, (attribute,)).get(attribute) == "true"
    except ServerError:
        return False


def _by_url(url: str) -> Target:
    source = sources.parse(url)
    return Target(source.name, url, source.region)


directory = Directory()
