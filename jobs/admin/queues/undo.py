"""The last action of a user that can be undone, offered by the pages of queues for a quarter of an hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from jobs.admin.queues.actions import Action, Asked
from queuesite.admin.records import address
from queuesite.foundation.quantities import plural

_KEY = "queues.undo"
OFFERED = timedelta(minutes=15)


def remember(request: HttpRequest, action: Action, asked: Asked, count: int) -> None:
    """Offer to undo this action. The queues themselves record what it changed; the session only has its name."""
    request.session[_KEY] = {
        "change": asked.change,
        "words": f"{action.label}: {plural(count, 'queue')}",
        "reason": asked.reason,
        "at": timezone.now().isoformat(),
    }


def forget(request: HttpRequest, change: str) -> None:
    """Stop offering it."""
    if request.session.get(_KEY, {}).get("change") == change:
        del request.session[_KEY]


def offered(request: HttpRequest) -> dict[str, Any] | None:
    """What the page offers to undo: the action in words, with the address that undoes it."""
    known = request.session.get(_KEY)
    if known is None or not request.user.has_perm("queues.change_queue"):
        return None
    at = datetime.fromisoformat(known["at"])
    if timezone.now() - at > OFFERED:
        return None
    return {**known, "at": at, "address": address("queues_queue_undo", next=request.get_full_path())}
