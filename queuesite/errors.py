"""The error tree.

Every error that a person can cause or cure descends from `QueuesiteError`. A message names the value, what was
expected and how to mend it; it is one line, since commands print it as it is. `exit_code` is what a command ends
with: 2 where the caller can mend the input, 1 where a server is at fault.
"""

from __future__ import annotations

from collections.abc import Sequence


class QueuesiteError(Exception):
    """Base of all errors that are shown to a person as a message, never as a traceback."""

    exit_code = 2


class ConfigError(QueuesiteError):
    """The configuration is wrong. `problems` lists everything that is, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["the configuration has problems:", *(f"  - {p}" for p in problems)]))


class InvalidInput(QueuesiteError):
    """A value that no state of the system would accept.

    `field` is the model's name of it, if it has one; `fields` are further ones, where several are wrong: name and what
    is wrong with each.
    """

    def __init__(
        self, message: str, *, field: str | None = None, fields: Sequence[tuple[str, str]] | None = None
    ) -> None:
        self.field = field
        self.fields = tuple(fields or ())
        super().__init__(message)


class NotFound(QueuesiteError):
    """What was named does not exist."""


class Conflict(QueuesiteError):
    """The state of the system does not allow the operation now (a name that is taken, a purge too soon)."""


class AlreadyExists(Conflict):
    """What was to be made is there; `name` is that of what is there."""

    def __init__(self, message: str, *, name: str) -> None:
        self.name = name
        super().__init__(message)


class Unauthenticated(QueuesiteError):
    """Nobody is known to ask: no token, or one that is not, or no longer, valid."""


class Forbidden(QueuesiteError):
    """Whoever asks may not do this."""


class TooLarge(QueuesiteError):
    """A request with more in it than one may carry."""


class Throttled(QueuesiteError):
    """More requests than one caller may make. `wait` is the time until the next is allowed, in whole seconds."""

    def __init__(self, message: str, *, wait: int) -> None:
        self.wait = wait
        super().__init__(message)


class StaleTransition(QueuesiteError):
    """A conditional write matched no document: somebody else has moved it on. The caller drops what it was doing."""


class ServerError(QueuesiteError):
    """A server that we depend on is at fault or out of reach."""

    exit_code = 1


class DatabaseUnavailable(ServerError):
    """Django's own database cannot be reached, or refused us."""


class MongoUnavailable(ServerError):
    """MongoDB cannot be reached, or refused us."""


class MongoDenied(MongoUnavailable):
    """MongoDB refused the user or the password."""


class SqsUnavailable(ServerError):
    """SQS cannot be reached, or keeps throttling."""


class TooManyInFlight(SqsUnavailable):
    """As many messages of a queue are in flight as SQS allows; it gives out more once some are settled."""


class SqsDenied(ServerError):
    """SQS refused the credentials, or they do not allow the operation."""


class SqsRejected(ServerError):
    """SQS refused a request for a reason that none of the other classes names."""


class QueueMissing(ServerError):
    """A queue that the database knows is not in SQS."""
