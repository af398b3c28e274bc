"""Asking SQS for a page, which waits a few seconds and then says that SQS is away, instead of hanging with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from django.db import connections

from queuesite.foundation.config import get_config
from queuesite.foundation.errors import SqsUnavailable

#: Most questions of a process that may be without an answer: threads cannot be stopped, and end when their requests do.
MOST_OPEN = 32

T = TypeVar("T")

_open = threading.BoundedSemaphore(MOST_OPEN)


class Patience:
    """The time that one page has for SQS, from now on: SQS_PATIENCE_SECONDS by default. For one thread."""

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = get_config().sqs_patience_seconds if seconds is None else seconds
        self._until = time.monotonic() + self._seconds
        #: What the page has said of what went wrong, which it need not say again.
        self.told: set[str] = set()

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._until

    def ask(self, question: Callable[[], T]) -> T:
        """The answer of `question`, which asks SQS, or the error that it raises.

        Raises `SqsUnavailable` when the time is up, or too many earlier questions are without an answer. What has been
        asked goes on in its thread, and its answer is lost.
        """
        if self.over or not _open.acquire(blocking=False):
            raise self._late()
        answer: Future[T] = Future()
        context = copy_context()

        def run() -> None:
            try:
                answer.set_result(context.run(question))
            except BaseException as error:
                answer.set_exception(error)
            finally:
                connections.close_all()  # this thread's own: Django keeps one per thread
                _open.release()

        try:
            threading.Thread(target=run, name="asks-sqs", daemon=True).start()
        except BaseException:  # the machine has no more threads
            _open.release()
            raise
        try:
            return answer.result(max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            if answer.done():
                raise
            raise self._late() from None

    def _late(self) -> SqsUnavailable:
        words = f"SQS has not answered within {self._seconds:g} s"
        return SqsUnavailable(words, public=f"{words}: it is away, or very slow")
