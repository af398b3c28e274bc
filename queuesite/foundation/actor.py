"""Who acts in this thread or task: a person behind a request, or a command; nobody, if the system does it by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Characters of a name that records keep.
MAX_ACTOR = 200

_actor: ContextVar[Callable[[], str] | None] = ContextVar("actor", default=None)


@contextmanager
def acting(who: Callable[[], str]) -> Iterator[None]:
    """Have `who` answer for what is done within; it is asked only when somebody wants to know."""
    token = _actor.set(who)
    try:
        yield
    finally:
        _actor.reset(token)


def current() -> str:
    """The name of who acts; empty if nobody does."""
    who = _actor.get()
    return "" if who is None else who()
