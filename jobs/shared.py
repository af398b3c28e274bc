"""Answers that all requests to a web process share, because many viewers ask for the same and it is expensive.

Whether processes live and who leads is never shared: callers read that themselves.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from queuesite.foundation.config import get_config
from queuesite.foundation.logs import get_logger
from queuesite.foundation.threads import supervised

log = get_logger(__name__)

#: Seconds for which every answer is shared: pages refresh every two, so ten viewers ask twice as often as one.
FRESH_SECONDS = 1.0
#: An answer is shared for this many times as long as it took, so that one question takes at most a twentieth of a core
#: of the database, whatever the number of queues and viewers.
TIMES = 20
#: An answer that took longer is computed again in the background, while the old one is used for as long again.
SLOW_SECONDS = 0.1
#: Most answers that are kept.
KEPT = 200

T = TypeVar("T")


@dataclass
class _Answer:
    """An answer, and who may compute it."""

    asking: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    #: Until when it is fresh, and until when it is used while a new one is computed.
    until: float = float("-inf")
    usable_until: float = float("-inf")


_answers: OrderedDict[tuple[str, str, str], _Answer] = OrderedDict()
_lock = threading.Lock()


def shared(name: str, ask: Callable[[], T], about: object = None, *, renewed: bool = False) -> T:
    """The result of `ask`. If several threads ask, one computes and the others wait.

    `about` is what the result depends on beside its name, such as filters; equal ones have the same `repr`. `renewed`:
    compute it in any case.
    """
    key = (get_config().mongodb_name, name, repr(about))
    with _lock:
        answer = _answers.setdefault(key, _Answer())
        _answers.move_to_end(key)
        while len(_answers) > KEPT:
            _answers.popitem(last=False)
    now = monotonic()
    if renewed:
        with answer.asking:
            _compute(answer, ask)
    elif answer.until <= now < answer.usable_until:
        _renew(answer, ask)
    elif now >= answer.until:
        with answer.asking:
            if monotonic() >= answer.until:
                _compute(answer, ask)
    found: T = answer.value
    return found


def _compute(answer: _Answer, ask: Callable[[], object]) -> None:
    began = monotonic()
    answer.value = ask()
    ended = monotonic()
    lasts = max(FRESH_SECONDS, TIMES * (ended - began))
    answer.until = ended + lasts
    answer.usable_until = answer.until + (lasts if ended - began > SLOW_SECONDS else 0.0)


def _renew(answer: _Answer, ask: Callable[[], object]) -> None:
    """Compute it in a thread, unless one does: nobody who has the page open waits for what takes long."""
    if not answer.asking.acquire(blocking=False):
        return

    def run() -> None:
        try:
            _compute(answer, ask)
        except Exception as error:  # an outage does not end the thread
            log.warning("shared_answer_failed", error=str(error))
        finally:
            answer.asking.release()

    # If it dies, whoever asks once the answer is too old computes it, and gets the error.
    supervised("shared-answer", run, lambda _: None).start()


def forget() -> None:
    """Forget every answer."""
    with _lock:
        _answers.clear()


def forgetting_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware that forgets every answer when a user has changed something, who looks for the change next."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if request.method not in {"GET", "HEAD", "OPTIONS"} and not request.path.startswith("/api/"):
            forget()
        return response

    return handle
