"""What the live workers together can do, and which queues none of them can serve. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

#: The pool of a worker that was started without one.
DEFAULT_POOL = "default"


@dataclass(frozen=True)
class Offer:
    """What a worker announces: its pool, and the version of each handler that it has.

    A worker of an earlier release announces nothing (None) and may have any handler.
    """

    pool: str = DEFAULT_POOL
    versions: Mapping[str, str] | None = field(default=None, hash=False)

    def serves(self, handler: str, pool: str | None) -> bool:
        """Whether it can process a queue with this handler that names this pool (None: any)."""
        return pool in (None, self.pool) and (self.versions is None or handler in self.versions)


@dataclass(frozen=True)
class Fleet:
    """The offers of all workers that take assignments.

    If there is none, queues wait for a worker as such, and it is not known that any of them is out of place.
    """

    offers: tuple[Offer, ...] = ()

    @cached_property
    def _handlers(self) -> Mapping[str, frozenset[str] | None]:
        """The handlers of each pool; None: any, since a worker in it announces nothing."""
        found: dict[str, frozenset[str] | None] = {}
        for offer in self.offers:
            known = found.get(offer.pool, frozenset())
            found[offer.pool] = None if known is None or offer.versions is None else known | frozenset(offer.versions)
        return found

    def reason(self, handler: str, pool: str | None) -> str | None:
        """Why no worker can process a queue with this handler and pool; None: one can, or there is no worker."""
        offers = self._handlers
        chosen: Iterable[frozenset[str] | None] = offers.values() if pool is None else [offers.get(pool, frozenset())]
        if not offers or any(have is None or handler in have for have in chosen):
            return None
        if pool is None:
            return f"no worker has handler {handler}"
        return f"no worker in pool {pool}" + (f" has handler {handler}" if pool in offers else "")

    def unserved(self, handler: Any, pool: Any) -> Any:
        """The same question as an expression of MongoDB, whose answer is true or false; it is given expressions."""
        if not self._handlers:
            return {"$literal": False}
        served = [
            {
                "$and": [
                    {"$in": [pool, [None, name]]},
                    {"$literal": True} if have is None else {"$in": [handler, sorted(have)]},
                ]
            }
            for name, have in sorted(self._handlers.items())
        ]
        return {"$not": [{"$or": served}]}
