"""What a worker and its listener say to each other: plain values that go through a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bson import ObjectId

from jobs.consumer.held import Batch


@dataclass(frozen=True)
class Target:
    """A queue to be listened to, and for how many seconds what is received from it is hidden."""

    queue_id: ObjectId
    queue_url: str
    window: int


@dataclass(frozen=True)
class Hold:
    """Worker to listener: listen to these queues too, or with another window, and no longer to those.

    A poll that is open goes on until it ends: to break it off could lose what SQS has just given to it. `serial` is
    the number of the order, which `Alive` repeats.
    """

    serial: int
    add: tuple[Target, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class GiveBack:
    """Worker to listener: make these messages visible again."""

    batch: Batch


@dataclass(frozen=True)
class Leave:
    """Worker to listener: end at once."""


@dataclass(frozen=True)
class Brought:
    """Listener to worker: messages have come. Their queue is not listened to until the worker says so again."""

    batch: Batch


@dataclass(frozen=True)
class Missing:
    """Listener to worker: SQS has no such queue. It is not listened to until the worker says so again."""

    queue_url: str


@dataclass(frozen=True)
class Alive:
    """Listener to worker, each half heartbeat and when the last poll has ended: its open polls, its memory in bytes.

    `serial` is that of the last order that it had. `requests` are those made since the last report, by their queue's
    URL and purpose (see `queues.sqs.values.PURPOSES`).
    """

    serial: int
    open_polls: int
    memory: int
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
