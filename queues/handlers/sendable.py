"""What `@handler` adds to a function: the methods that send to its queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, cast

from queues import sending
from queues.sending import Destination, Each, Options, SendReport
from queues.sending.outgoing import text_body

if TYPE_CHECKING:
    from queues.handlers.registry import Handler

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Sender:
    """Sends what a handler handles: what makes a payload of its type, or, if it declares none, text or JSON.

    The methods take what `queues.sending` takes, and `queue`, a queue's name or URL. Without it, a message goes to the
    queue that `@handler(queue=…)` names, else to the one queue that has the handler; if several have it, name one.
    They raise `InvalidInput` also for a payload that does not fit.
    """

    handler: Handler

    def _to(self, queue: str | None) -> Destination:
        return Destination(queue or self.handler.queue, self.handler.name)

    def _encode(self, payload: Any) -> str:
        declared = self.handler.payload
        return text_body(payload) if declared is None else declared.body(payload)

    def send(self, payload: Any, *, queue: str | None = None, **options: Unpack[Options]) -> str:
        """Send one message, and return its id in SQS; as `queues.send`."""
        return sending.send(self._to(queue), payload, encode=self._encode, **options)

    def send_many(self, payloads: Iterable[Any], *, queue: str | None = None, **options: Unpack[Each]) -> SendReport:
        """Send messages in batches; the report says which failed. As `queues.send_many`."""
        return sending.send_many(self._to(queue), payloads, encode=self._encode, **options)

    def send_on_commit(
        self, payload: Any, *, queue: str | None = None, using: str | None = None, **options: Unpack[Options]
    ) -> None:
        """Send one message once Django's transaction is committed; as `queues.send_on_commit`."""
        sending.send_on_commit(self._to(queue), payload, using=using, encode=self._encode, **options)

    async def asend(self, payload: Any, *, queue: str | None = None, **options: Unpack[Options]) -> str:
        """Send one message without blocking the event loop; as `queues.asend`."""
        return await sending.asend(self._to(queue), payload, encode=self._encode, **options)

    async def asend_many(
        self, payloads: Iterable[Any], *, queue: str | None = None, **options: Unpack[Each]
    ) -> SendReport:
        """Send messages without blocking the event loop; as `queues.asend_many`."""
        return await sending.asend_many(self._to(queue), payloads, encode=self._encode, **options)


class HandlerFunction(Sender, Generic[P, R]):
    """The type of what `@handler` returns: the function, with the methods of a `Sender`. It has no instances."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, as without the decorator."""
        raise NotImplementedError


_METHODS = ("send", "send_many", "send_on_commit", "asend", "asend_many")


def with_sender(function: Callable[P, R], handler: Handler) -> HandlerFunction[P, R]:
    """`function`, with the methods; a bound method or a built-in, which takes no attributes, in a partial."""
    sender = Sender(handler)
    target: Any = function if hasattr(function, "__dict__") and not _is_bound(function) else partial(function)
    for method in _METHODS:
        setattr(target, method, getattr(sender, method))
    return cast("HandlerFunction[P, R]", target)


def _is_bound(function: object) -> bool:
    return getattr(function, "__self__", None) is not None
