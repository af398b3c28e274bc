"""Asking SQS for an answer of the API, for no longer than a page would."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from queues.patience import Patience
from queuesite.foundation.errors import SqsUnavailable
from queuesite.foundation.public import public_text

T = TypeVar("T")


def ask_sqs(what: str, question: Callable[[], T]) -> T:
    """The answer of `question`, which only reads. `what` names it in errors.

    Raises `SqsUnavailable`, which says that `what` is not known, if SQS is away or takes longer than
    SQS_PATIENCE_SECONDS; and what the question raises. What changes something is not asked so: its caller
    must hear the outcome.
    """
    try:
        return Patience().ask(question)
    except SqsUnavailable as error:
        unknown = f"{what} cannot be determined"
        raise SqsUnavailable(f"{unknown}: {error}", public=f"{unknown}: {public_text(error)}") from error
