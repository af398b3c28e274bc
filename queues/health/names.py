"""The names of what can be wrong with a queue. `queues.health.rules` says of each when it is so."""

from __future__ import annotations

from enum import StrEnum


class Health(StrEnum):
    """How a queue is, in a word: the value is that of the API, of metrics and of the command line."""

    VANISHED = "vanished"  #: SQS does not have it any more
    UNSERVED = "unserved"  #: no live worker has its handler and is in its pool
    CRASH_LOOPING = "crash-looping"  #: its runs fail, one after another
    TRIPPED = "tripped"  #: what its handler needs was down when last tried
    FAILING = "failing"  #: too large a share of its attempts fails
    STUCK = "stuck"  #: it has messages, and no attempt ends, or none but with a retry that the handler asked for
    MESSAGE_TOO_OLD = "message-too-old"  #: its oldest message is older than the limit
    BACKLOG_TOO_LARGE = "backlog-too-large"  #: more messages wait than the limit
    TOO_MANY_DEAD_LETTERS = "too-many-dead-letters"
    STARVED = "starved"  #: it waits for a place, and all workers that can serve it are full
    PAUSED_WITH_BACKLOG = "paused-with-backlog"
    DEAD_LETTERS_GROWING = "dead-letters-growing"
    HEALTHY = "healthy"  #: none of these

    @property
    def label(self) -> str:
        """The word as pages show it."""
        return self.value.replace("-", " ") if self not in _LABELS else _LABELS[self]


_LABELS: dict[Health, str] = {
    Health.VANISHED: "not in SQS any more",
    Health.CRASH_LOOPING: "crash-looping",
    Health.PAUSED_WITH_BACKLOG: "paused with backlog",
    Health.DEAD_LETTERS_GROWING: "dead letters growing",
}

#: What a notice may be sent of: the names above, or these for several of them.
URGENT, ALL, NONE = "urgent", "all", "none"
NOTIFIABLE = (URGENT, ALL, NONE, *(one.value for one in Health if one is not Health.HEALTHY))
