"""The handlers that a queue may have: those that live workers announce, together with those that are importable here.

So masters and web servers need no handler's code. What the workers announce counts, since they do the work; a handler
that is importable here and has the same schema is asked itself, because it knows rules that no schema expresses.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from queues.handlers import registry, schemas, secrets
from queues.handlers.announcement import Announced
from queues.handlers.registry import Handler
from queues.handlers.retrying import Breaker
from queuesite.foundation.errors import InvalidInput
from queuesite.foundation.home import PROGRAM


@dataclass(frozen=True)
class Live:
    """What live workers announce."""

    #: By name; the version that was announced last comes first.
    handlers: Mapping[str, Sequence[Announced]] = field(default_factory=dict)
    #: Reads the pools that a live worker is in, or one was lately.
    pools: Callable[[], frozenset[str]] = frozenset
    #: How many workers live.
    workers: int = 0


@dataclass(frozen=True)
class Known:
    """A handler by its name. Nothing else may be known of it."""

    name: str
    local: Handler | None = None
    announced: Sequence[Announced] = ()

    @property
    def is_known(self) -> bool:
        """Whether a live worker announces it, or it is importable here."""
        return self.local is not None or bool(self.announced)

    @property
    def newest(self) -> Announced | None:
        """What its newest version announces, or would if it were importable here only; None: nobody knows it."""
        if self.announced:
            return self.announced[0]
        return None if self.local is None else Announced.of(self.local, None)

    @property
    def description(self) -> str:
        """Its docstring."""
        if self.local is not None and not self.announced:
            return inspect.getdoc(self.local.function) or ""
        return "" if self.newest is None else self.newest.description

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return self.description.partition("\n")[0]

    @property
    def kind(self) -> str:
        """`sync`, `async` or `batch`; empty if nobody knows it."""
        return "" if self.newest is None else self.newest.kind

    @property
    def timeout(self) -> float | None:
        """Its own time limit in seconds."""
        return None if self.newest is None else self.newest.timeout

    @property
    def batch(self) -> str:
        """The batches that it takes, such as `up to 100, gathered for 1 s`; empty if it takes single messages."""
        found = self.newest
        if found is None or found.batch is None:
            return ""
        return f"up to {found.batch:,}" + (f", gathered for {found.linger:g} s" if found.linger else "")

    @property
    def retry(self) -> Sequence[str]:
        """What happens after its exceptions, in words; empty: the usual retry."""
        return () if self.newest is None else self.newest.retry

    @property
    def breaker(self) -> Breaker | None:
        """How many failed attempts trip its queue."""
        return None if self.newest is None else self.newest.breaker

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of its options. None: it takes none, or nobody knows it."""
        if self._own is not None:
            return self._own.schema
        return None if self.newest is None else self.newest.schema

    @property
    def payload_schema(self) -> dict[str, Any] | None:
        """The JSON Schema of the payloads that may be sent to it; None: nothing is known of them."""
        return None if self.newest is None else self.newest.payload_schema

    @property
    def _own(self) -> Handler | None:
        """The handler here, if it is the one that workers announce."""
        if self.local is None or (self.announced and self.announced[0].options != self.local.schema_text):
            return None
        return self.local

    def masked_options(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """The options as they may be shown. If nobody knows it, all are masked."""
        return secrets.mask(self.schema, options or {})

    def kept_options(self, given: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
        """The options to store, with the stored value in place of each mask. Raises `InvalidInput`."""
        return secrets.keep(self.schema, given, stored, self.name)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `InvalidInput` that names each wrong option. If nobody knows the handler, nothing is known to be wrong.

        The worker's environment is not known here.
        """
        if self._own is not None:
            self._own.check_options(options)
        elif self.newest is not None:
            schemas.check(self.name, self.schema, options)
        else:
            secrets.references(options)  # no option of any handler may name a setting of the system


class Catalogue(Mapping[str, Known]):
    """The known handlers by name, as of one moment. `named` has those that nobody knows too."""

    def __init__(self, local: Mapping[str, Handler], live: Live) -> None:
        self.live = live
        self._known = {
            name: Known(name, local.get(name), live.handlers.get(name, ())) for name in sorted({*local, *live.handlers})
        }

    def __getitem__(self, name: str) -> Known:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def named(self, name: str) -> Known:
        """The handler of this name, known or not."""
        return self._known.get(name) or Known(name)

    def warnings(self, handler: str, options: Mapping[str, Any] | None) -> list[str]:
        """Warnings about a queue with this handler and these options, besides what is refused."""
        found = self.named(handler)
        if not found.is_known:
            return [
                f"no live worker announces handler {handler!r}, and it is not importable here: the queue waits until "
                f"such a worker comes, and its options are not checked; known handlers: {', '.join(self)}"
            ]
        try:
            found.check_options(options or {})
        except InvalidInput as error:
            return [f"{error}; the workers refuse them"]
        return []

    def check_pool(self, pool: str | None) -> None:
        """Raise `InvalidInput` for a pool that no worker is in, or was lately. Without any worker none is known."""
        if pool is not None and self.live.workers and pool not in (pools := self.live.pools()):
            raise InvalidInput(
                f"pool {pool!r} is unknown: no worker is in it; known pools: {', '.join(sorted(pools))}; "
                f"start a worker with `{PROGRAM} runworker --pool {pool}` first",
                field="pool",
            )


def _nobody() -> Live:
    return Live()


_source: Callable[[], Live] = _nobody


def set_source(source: Callable[[], Live]) -> None:
    """Have `current` ask this function what live workers announce."""
    global _source
    _source = source


def current() -> Catalogue:
    """The known handlers at this moment. Raises `HandlerError`, and pymongo's errors."""
    return Catalogue(registry.all_handlers(), _source())
