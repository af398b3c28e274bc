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


class MalformedDocument(Conflict):
    """A document of MongoDB's that holds what no process of ours wrote: a field of another type, or out of bounds."""

    def __init__(self, collection: str, key: object, name: str, field: str, value: object, expected: str) -> None:
        shown = f"{name!r} (_id {key})" if name else f"with _id {key}"
        id_ = f'ObjectId("{key}")' if type(key).__name__ == "ObjectId" else repr(key)
        super().__init__(
            f"the document {shown} in {collection} is malformed: {field} {_short(value)}: expected {expected}; mend it "
            f"with mongosh: db.{collection}.updateOne({{_id: {id_}}}, {{$set: {{{field}: …}}}})"
        )
        self.collection, self.key, self.name = collection, key, name
        self.field, self.value, self.expected = field, value, expected

    @property
    def wrong(self) -> str:
        """What is wrong, in a few words."""
        return f"{self.field} {_short(self.value)}: expected {self.expected}"


def _short(value: object) -> str:
    return "is missing" if value is Ellipsis else repr(value)[:100]


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
    """A server that we depend on is at fault or out of reach.

    The message names hosts, paths and users, for the log and the command line. `public` is what API and admin may show
    in its place; None: what is said of every error of its class.
    """

    exit_code = 1

    def __init__(self, message: str, *, public: str | None = None) -> None:
        self.public = public
        super().__init__(message)


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
