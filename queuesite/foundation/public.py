"""What the API and the admin show of an error: no hosts, paths or users of servers."""

from __future__ import annotations

from queuesite.foundation import errors
from queuesite.foundation.home import PROGRAM
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

#: Errors of servers name addresses, which are only for the log. An error may have its own text, `public`.
_TEXTS: dict[type[errors.QueuesiteError], str] = {
    errors.QueueMissing: f"the queue is not in SQS; `{PROGRAM} sqs sync` or a sync through the API creates it, unless "
    "others own it",
    errors.SqsDenied: "SQS refused the credentials, or they do not allow this; the log says which",
    errors.SqsRejected: "SQS refused the request; the log says why",
    errors.SqsUnavailable: "SQS does not answer; the log says why",
    errors.MongoUnavailable: "MongoDB does not answer; the log says why",
    errors.DatabaseUnavailable: "Django's database does not answer; the log says why",
    errors.ServerError: "a server does not answer; the log says which",
}


def public_text(error: errors.QueuesiteError) -> str:
    """The text to show: the error's message, or if that is only for the log, which gets it here, a public text."""
    if isinstance(error, errors.ServerError):
        log.warning("error_not_shown", kind=type(error).__name__, error=str(error))
    if public := getattr(error, "public", None):
        return str(public)
    kinds = (_TEXTS[ancestor] for ancestor in type(error).__mro__ if ancestor in _TEXTS)
    return next(kinds, str(error))
