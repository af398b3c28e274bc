"""The `leases` collection: compare-and-set on one document, `_id: "master"`.

A lease is held by (holder, term). Whether it has expired is judged by the database server's clock, and the write then
names the lease that was judged. So if two masters see the same expired lease, only one write matches.
"""

from __future__ import annotations

from datetime import timedelta

from pymongo import DESCENDING
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from jobs.models import Assignment, Lease
from queues.events import EventKind, record
from queuesite.foundation.databases import Document, collection, database_clock
from queuesite.foundation.documents import to_model, to_models
from queuesite.foundation.errors import MalformedDocument
from queuesite.foundation.logs import get_logger

log = get_logger(__name__)

MASTER = "master"
#: The holder of a lease that was malformed; no master has this id.
_NOBODY = "(mended)"


def _leases() -> Collection[Document]:
    return collection(Lease)


def current() -> Lease | None:
    """The lease, or None if nobody has ever led or the document is malformed."""
    return next(iter(to_models(Lease, _leases().find({"_id": MASTER}))), None)


def leader() -> Lease | None:
    """The lease, if it is held and has not expired."""
    lease = current()
    if lease is None or lease.holder is None or lease.expires_at <= database_clock.now():
        return None
    return lease


def acquire(holder: str, ttl: float) -> int | None:
    """Win the lease for `ttl` seconds if it is free, expired, or this holder's own; return the new term, or None.

    A holder that does not know how its last attempt ended takes its own lease again under a new term.
    """
    document = _leases().find_one({"_id": MASTER})
    if document is None:
        return _elected(holder, _insert(holder, ttl))
    try:
        lease = to_model(Lease, document)
    except MalformedDocument as error:
        _mend(document, error, ttl)
        return None
    if lease.holder not in (None, holder) and lease.expires_at > database_clock.now():
        return None
    term = lease.term + 1
    result = _leases().update_one(
        {"_id": MASTER, "term": lease.term, "holder": lease.holder, "expiresAt": lease.expires_at},
        [{"$set": {"holder": holder, "term": term, "electedAt": "$$NOW", "expiresAt": _from_now(ttl)}}],
    )
    return _elected(holder, term if result.matched_count else None)


def _elected(holder: str, term: int | None) -> int | None:
    if term is not None:
        record(EventKind.LEADER_CHANGED, subject=holder, more=f"term {term}")
    return term


def _insert(holder: str, ttl: float) -> int | None:
    term = _highest_assigned() + 1
    document = {"_id": MASTER, "holder": holder, "term": term, "electedAt": database_clock.now(), "expiresAt": _in(ttl)}
    try:
        _leases().insert_one(document)
    except DuplicateKeyError:
        return None
    return term


def _mend(document: Document, error: MalformedDocument, ttl: float) -> None:
    """Replace a malformed lease by one of a new term that nobody holds and that expires after `ttl` seconds.

    The leader no longer finds its own lease and steps down, but it may act until the new lease has expired. Only then
    can the new lease be won.
    """
    written: object = document.get("term")
    term = max(written if isinstance(written, int) else 0, _highest_assigned()) + 1
    changes = {"holder": _NOBODY, "term": term, "electedAt": "$$NOW", "expiresAt": _from_now(ttl)}
    if _leases().update_one(document, [{"$set": changes}]).matched_count:
        log.error("lease_mended", error=error.wrong, term=term)


def _highest_assigned() -> int:
    """The highest term of any assignment. Terms only rise, even if the lease is lost."""
    found = collection(Assignment).find({"term": {"$type": ["int", "long"]}}, {"term": 1}).sort("term", DESCENDING)
    return next((document["term"] for document in found.limit(1)), 0)


def renew(holder: str, term: int, ttl: float) -> bool:
    """Extend one's own lease to `ttl` seconds from now; return False if it belongs to somebody else."""
    result = _leases().update_one(
        {"_id": MASTER, "holder": holder, "term": term}, [{"$set": {"expiresAt": _from_now(ttl)}}]
    )
    return bool(result.matched_count)


def resign(holder: str, term: int) -> bool:
    """Give up one's own lease, so that a standby need not wait for its end. The term stays, since terms only rise."""
    result = _leases().update_one(
        {"_id": MASTER, "holder": holder, "term": term}, [{"$set": {"holder": None, "expiresAt": "$$NOW"}}]
    )
    return bool(result.matched_count)


def _from_now(ttl: float) -> Document:
    return {"$add": ["$$NOW", round(ttl * 1000)]}


def _in(ttl: float) -> object:
    return database_clock.now() + timedelta(seconds=ttl)
