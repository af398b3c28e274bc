"""The `leases` collection: compare-and-set on one document, `_id: "master"`.

A lease is held by (holder, term). Whether it has expired is judged by the database server's clock, and the write then
names the very lease that was judged: of two masters that see the same expired one, one matches.
"""

from __future__ import annotations

from datetime import timedelta

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from jobs.models import Lease
from queuesite.databases import Document, collection, database_clock
from queuesite.documents import to_model

MASTER = "master"


def _leases() -> Collection[Document]:
    return collection(Lease)


def current() -> Lease | None:
    """The lease as it stands, or None where nobody ever led."""
    document = _leases().find_one({"_id": MASTER})
    return None if document is None else to_model(Lease, document)


def leader() -> Lease | None:
    """The lease, where it is held and has not expired."""
    lease = current()
    if lease is None or lease.holder is None or lease.expires_at <= database_clock.now():
        return None
    return lease


def acquire(holder: str, ttl: float) -> int | None:
    """Win the lease for `ttl` seconds where it is free, has expired, or is this very holder's; the new term, or None.

    A holder that does not know how its last attempt ended takes its own lease again under a new term.
    """
    lease = current()
    if lease is None:
        now = database_clock.now()
        document = {"_id": MASTER, "holder": holder, "term": 1, "electedAt": now, "expiresAt": _in(ttl)}
        try:
            _leases().insert_one(document)
        except DuplicateKeyError:
            return None
        return 1
    if lease.holder not in (None, holder) and lease.expires_at > database_clock.now():
        return None
    term = lease.term + 1
    result = _leases().update_one(
        {"_id": MASTER, "term": lease.term, "holder": lease.holder, "expiresAt": lease.expires_at},
        [{"$set": {"holder": holder, "term": term, "electedAt": "$$NOW", "expiresAt": _from_now(ttl)}}],
    )
    return term if result.matched_count else None


def renew(holder: str, term: int, ttl: float) -> bool:
    """Prolong one's own lease to `ttl` seconds from now; False where it is somebody else's."""
    result = _leases().update_one(
        {"_id": MASTER, "holder": holder, "term": term}, [{"$set": {"expiresAt": _from_now(ttl)}}]
    )
    return bool(result.matched_count)


def resign(holder: str, term: int) -> bool:
    """Give one's own lease up, so that a standby need not wait for its end. The term stays, and only ever rises."""
    result = _leases().update_one(
        {"_id": MASTER, "holder": holder, "term": term}, [{"$set": {"holder": None, "expiresAt": "$$NOW"}}]
    )
    return bool(result.matched_count)


def _from_now(ttl: float) -> Document:
    return {"$add": ["$$NOW", round(ttl * 1000)]}


def _in(ttl: float) -> object:
    return database_clock.now() + timedelta(seconds=ttl)
