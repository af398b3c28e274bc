"""The error tree.

Every error that a person can cause or fix descends from `QueuesiteError`. A message names the value, what was expected
and the remedy, in one line, since commands print it as it is. `exit_code` is a command's exit code: 2 if the caller can
correct the input, 1 if a server is at fault.
"""

from __future__ import annotations

from collections.abc import Sequence


class QueuesiteError(Exception):
    """Base of all errors that are shown to a person as a message, never as a traceback."""

    exit_code = 2


class ConfigError(QueuesiteError):
    """The configuration is wrong. `problems` lists all of its problems, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["the configuration has problems:", *(f"  - {p}" for p in problems)]))


class InvalidInput(QueuesiteError):
    """A value that no state of the system would accept.

    `field` is the name of the model's field, if there is one. If several fields are wrong, or parts of one, `fields`
    holds name and message of each; the name of a part is a path, such as `handler_options.account.user`.
    """

    def __init__(
        self, message: str, *, field: str | None = None, fields: Sequence[tuple[str, str]] | None = None
    ) -> None:
        self.field = field
        self.fields = tuple(fields or ())
        super().__init__(message)

    @property
    def by_field(self) -> Sequence[tuple[str, str]]:
        """The name and the message of each wrong field; an empty name if the error is of none."""
        return self.fields or ((self.field or "", str(self)),)


class NotFound(QueuesiteError):
    """The named object does not exist."""


class Conflict(QueuesiteError):
    """The state of the system does not allow the operation now (a name that is taken, a purge too soon)."""


class AlreadyExists(Conflict):
    """The object to create exists already; `name` is its name."""

    def __init__(self, message: str, *, name: str) -> None:
        self.name = name
        super().__init__(message)


class MalformedDocument(Conflict):
    """A document in MongoDB that no process of ours wrote: a field has the wrong type or is out of bounds."""

    def __init__(self, collection: str, key: object, name: str, field: str, value: object, expected: str) -> None:
        shown = f"{name!r} (_id {key})" if name else f"with _id {key}"
        id_ = f'ObjectId("{key}")' if type(key).__name__ == "ObjectId" else repr(key)
        super().__init__(
            f"the document {shown} in {collection} is malformed: {field} {_short(value)}: expected {expected}; fix it "
            f"with mongosh: db.{collection}.updateOne({{_id: {id_}}}, {{$set: {{{field}: …}}}})"
        )
        self.collection, self.key, self.name = collection, key, name
        self.field, self.value, self.expected = field, value, expected

    @property
    def wrong(self) -> str:
        """The problem in a few words."""
        return f"{self.field} {_short(self.value)}: expected {self.expected}"


def _short(value: object) -> str:
    return "is missing" if value is Ellipsis else repr(value)[:100]


class Unauthenticated(QueuesiteError):
    """The caller is unknown: the token is missing, invalid or expired."""


class Forbidden(QueuesiteError):
    """The caller may not do this."""


class TooLarge(QueuesiteError):
    """The request exceeds a limit of its size."""


class Throttled(QueuesiteError):
    """The caller made too many requests. `wait` is the time until the next is allowed, in whole seconds."""

    def __init__(self, message: str, *, wait: int) -> None:
        self.wait = wait
        super().__init__(message)


class StaleTransition(QueuesiteError):
    """A conditional write matched no document: another process has changed it. The caller drops its work on it."""


class ServerError(QueuesiteError):
    """A server that we depend on is at fault or unreachable.

    The message names hosts, paths and users, for the log and the command line. API and admin show `public` instead;
    None means the text that every error of the class has.
    """

    exit_code = 1

    def __init__(self, message: str, *, public: str | None = None) -> None:
        self.public = public
        super().__init__(message)


class DatabaseUnavailable(ServerError):
    """Django's own database is unreachable or refused the connection."""


class MongoUnavailable(ServerError):
    """MongoDB is unreachable or refused the connection."""


class MongoDenied(MongoUnavailable):
    """MongoDB refused the user or the password."""


class SqsUnavailable(ServerError):
    """SQS is unreachable or keeps throttling."""


class TooManyInFlight(SqsUnavailable):
    """A queue has as many messages in flight as SQS allows; SQS gives out more once some are settled."""


class SqsDenied(ServerError):
    """SQS refused the credentials, or they do not permit the operation."""


class SqsRejected(ServerError):
    """SQS refused a request for a reason that none of the other classes names."""


class QueueMissing(ServerError):
    """A queue that the database knows is not in SQS."""
