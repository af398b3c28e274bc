"""Whether MongoDB, SQS and Django's own database answer a real request within a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import connections

from queues.sqs import get_gateway
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import check_database, check_mongodb
from queuesite.foundation.errors import QueuesiteError
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

OK = "ok"
LATE = "no answer in time"
FAILED = "unavailable"

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What became of a question: `OK`, `LATE` or `FAILED`."""

    outcome: str
    #: The answer, if it is OK.
    value: T | None = None
    #: For how many seconds the server has answered nothing; 0.0 if it is OK.
    silent: float = 0.0


class Probe(Generic[T]):
    """A question to a server. While one hangs, no other is begun, because threads cannot be stopped."""

    def __init__(self, name: str, ask: Callable[[], T], monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._ask = ask
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._answer: Answer[T] = Answer(LATE)
        self._begun = 0.0
        #: Since when the server has been asked without success, and what was last logged of it.
        self._since: float | None = None
        self._logged: str | None = None

    def start(self) -> float:
        """Ask, unless a question is under way; returns when that began (monotonic clock)."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._answer = Answer(LATE)
                self._begun = self._monotonic()
                if self._since is None:
                    self._since = self._begun
                self._thread = threading.Thread(target=self._run, name=f"ready-{self.name}", daemon=True)
                self._thread.start()
            return self._begun

    def answer(self, deadline: float) -> Answer[T]:
        """The answer, at the latest at `deadline` (monotonic clock)."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - self._monotonic()))
        answer, since = self._answer, self._since
        if answer.outcome == OK or since is None:
            return answer
        return Answer(answer.outcome, silent=self._monotonic() - since)

    def _run(self) -> None:
        try:
            self._answer = Answer(OK, self._ask())
            self._since = self._logged = None
        except QueuesiteError as error:
            self._fail(error, log.warning)
        except Exception as error:
            self._fail(error, log.exception)
        finally:
            connections.close_all()  # this thread's own: Django keeps one per thread

    def _fail(self, error: Exception, write: Callable[..., object]) -> None:
        """Note a failure. Each page asks every second, so what is wrong is logged once until it changes or is over."""
        self._answer = Answer(FAILED)
        if str(error) != self._logged:
            self._logged = str(error)
            write("not_ready", server=self.name, error=str(error))


_probes: tuple[Probe[None], ...] = (
    Probe("mongodb", check_mongodb),
    Probe("sqs", lambda: get_gateway().check()),
    Probe("database", check_database),
)


def check() -> dict[str, str]:
    """Each server's outcome within READY_TIMEOUT_SECONDS: `ok`, or what is wrong, without addresses."""
    deadline = time.monotonic() + get_config().ready_timeout_seconds
    for probe in _probes:
        probe.start()
    return {probe.name: probe.answer(deadline).outcome for probe in _probes}


def answers(patience: float, *more: Probe[Any]) -> dict[str, Answer[Any]]:
    """Each server's answer, and that of other probes, once it is there or its question is `patience` seconds old.

    So a server that hangs holds up only the first who asks.
    """
    every: tuple[Probe[Any], ...] = (*_probes, *more)
    asked = [(probe, probe.start() + patience) for probe in every]
    return {probe.name: probe.answer(deadline) for probe, deadline in asked}
