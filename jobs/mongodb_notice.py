"""The notice that MongoDB does not answer, and the one that it does again.

Everything else that notices are sent of is in MongoDB, so the background tasks keep this in Django's own database,
where their queue is, too. As there, one process sends, and one that dies at it leaves the notice unsent.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from jobs import outage_notice
from queuesite.foundation.config import get_config
from queuesite.foundation.errors import MongoUnavailable
from queuesite.foundation.public import public_text
from queuesite.models import ServerWatch

_MONGODB = "mongodb"


def away(error: MongoUnavailable) -> None:
    """Note that MongoDB does not answer; if that has lasted, and there is no silence of everything, send the notice."""
    if get_config().alert_urls is None:
        return
    now = timezone.now()
    watch = _watch()
    if watch.away_since is None:
        _rows().filter(away_since=None).update(away_since=now)
        watch.away_since = now
    due = now - watch.away_since >= timedelta(seconds=get_config().alert_after_seconds)
    silent = watch.silent_until is not None and watch.silent_until > now
    claimed = due and not silent and _rows().filter(notified_at=None).update(notified_at=now)
    if claimed and not outage_notice.tell_begun(public_text(error)):
        _rows().update(notified_at=None)


def answers() -> None:
    """Note that MongoDB answers, and until when everything is silent; send the notice that it does again, if it is due.

    Raises pymongo's errors.
    """
    if get_config().alert_urls is None:
        return
    silent = outage_notice.silent_until()
    watch = _watch()
    if watch.away_since is None and watch.silent_until == silent:
        return
    away_since, notified_at = watch.away_since, watch.notified_at
    settled = (
        _rows()
        .filter(away_since=away_since, notified_at=notified_at)
        .update(away_since=None, notified_at=None, silent_until=silent)
    )
    if settled and notified_at is not None and away_since is not None:
        outage_notice.tell_over((timezone.now() - away_since).total_seconds())


def _rows() -> QuerySet[ServerWatch]:
    return ServerWatch.objects.filter(name=_MONGODB)


def _watch() -> ServerWatch:
    return ServerWatch.objects.get_or_create(name=_MONGODB)[0]
