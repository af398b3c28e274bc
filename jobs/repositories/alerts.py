"""The collections `alerts` and `alertChecks`. Each step of an alert is a conditional write, which one process wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo import ASCENDING, UpdateOne
from pymongo.collection import Collection

from jobs.alert_models import Alert, AlertCheck, AlertState
from queuesite.foundation.databases import Document, bulk_upsert, collection
from queuesite.foundation.documents import to_models

#: The `_id` of the silence of everything, and the first part of the `_id` of alerts that concern no queue.
SYSTEM = "system"
#: The `_id` of the document that says when was looked.
_LAST = "last"


@dataclass(frozen=True)
class SeenProblem:
    """Something that is wrong now."""

    id: str
    subject: str
    problem: str
    sentence: str
    #: How long it must last before a notice is sent.
    after: timedelta = timedelta()
    #: Whether a notice is wanted. If one was sent before that changed, the one of its end is sent too.
    wanted: bool = True


def _alerts() -> Collection[Document]:
    return collection(Alert)


def checked(now: datetime) -> None:
    """Record that the background tasks look now."""
    collection(AlertCheck).update_one({"_id": _LAST}, {"$max": {"at": now}}, upsert=True)


def last_check() -> datetime | None:
    """When the background tasks last looked, or None."""
    found = to_models(AlertCheck, collection(AlertCheck).find({"_id": _LAST}))
    return found[0].at if found else None


def note(seen: Iterable[SeenProblem], now: datetime) -> None:
    """Record what is wrong now; what is on record already is refreshed."""
    writes = [
        UpdateOne(
            {"_id": one.id},
            {
                "$set": {"lastSeenAt": now, "sentence": one.sentence},
                "$setOnInsert": {
                    "subject": one.subject,
                    "problem": one.problem,
                    "state": AlertState.PENDING.value,
                    "firstSeenAt": now,
                    "failures": 0,
                },
            },
            upsert=True,
        )
        for one in seen
    ]
    bulk_upsert(_alerts(), writes)


def all_alerts(limit: int) -> list[Alert]:
    """Up to `limit` alerts, the earliest first."""
    return to_models(Alert, _alerts().find({}).sort("firstSeenAt", ASCENDING).limit(limit))


def claim(alert: Alert, state: AlertState, now: datetime) -> bool:
    """Take an alert to its next state; False if another process did, or has changed it since it was read."""
    found = _alerts().update_one(
        {"_id": alert.id, "state": alert.state, "failures": alert.failures, "claimedAt": alert.claimed_at},
        {"$set": {"state": state.value, "claimedAt": now}},
    )
    return found.matched_count == 1


def sent(alerts: Iterable[Alert], *, over: bool) -> None:
    """Record that notices were sent: of the alerts, or that these are over, which removes them."""
    ids = {"_id": {"$in": [one.id for one in alerts]}}
    if over:
        _alerts().delete_many(ids)
    else:
        _alerts().update_many(
            ids, {"$set": {"state": AlertState.SENT.value, "failures": 0, "error": "", "tryAgainAt": None}}
        )


def not_sent(alerts: Mapping[Alert, datetime], state: AlertState, error: str) -> None:
    """Record that a sending failed: back to `state`, until each alert's moment of the next try."""
    bulk_upsert(
        _alerts(),
        [
            UpdateOne(
                {"_id": one.id},
                {"$set": {"state": state.value, "error": error, "tryAgainAt": at}, "$inc": {"failures": 1}},
            )
            for one, at in alerts.items()
        ],
    )


def forget(alert: Alert) -> None:
    """Remove an alert of which no notice was sent, unless it has been seen again."""
    _alerts().delete_one({"_id": alert.id, "state": alert.state, "lastSeenAt": alert.last_seen_at})


def abandoned(before: datetime) -> None:
    """Settle what processes died at: the notice may have been sent, and is not sent twice."""
    _alerts().update_many(
        {"state": AlertState.SENDING.value, "claimedAt": {"$lt": before}}, {"$set": {"state": AlertState.SENT.value}}
    )
    _alerts().delete_many({"state": AlertState.ENDING.value, "claimedAt": {"$lt": before}})
