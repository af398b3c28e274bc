"""An action on all queues that match the filters of the list: a background task with progress."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.http import QueryDict

from jobs.admin.queues.actions import ACTIONS, Action, Asked, Report
from jobs.admin.queues.listing import QueueFilters
from queues import services
from queues.summaries import Named
from queuesite.foundation.errors import InvalidInput
from queuesite.models import BackgroundTask
from queuesite.tasks import Progress, background, start

#: Queues that are read at once.
CHUNK = 50
#: Most queues that the result names for each thing that was done with them, or for each reason of a skip.
NAMED = 100


def matching(address: str) -> list[Named]:
    """All queues on the list at this address, on whichever page, by name. Raises `InvalidInput`."""
    filters = QueueFilters(QueryDict(urlsplit(address).query))
    if not filters.is_valid():
        raise InvalidInput("the filters of the list are not valid: correct them first")
    return filters.everything()


def begin(action: Action, queues: list[Named], value: int | None, asked: Asked) -> BackgroundTask:
    """Start the task. It concerns the queues that match now, and none that come to match later."""
    return start(
        act_on_matching,
        asked.user,
        total=len(queues),
        action=action.name,
        ids=[str(queue.id) for queue in queues],
        value=value,
        user=asked.user.pk,
        reason=asked.reason,
        change=asked.change,
    )


@background("act on queues")
def act_on_matching(
    progress: Progress, action: str, ids: list[str], value: int | None, user: int, reason: str, change: str
) -> dict[str, Any]:
    """Take an action queue by queue. One that fails is reported and does not stop the others."""
    taken, report = ACTIONS[action], Report()
    act = taken.in_task or taken.run
    asked = Asked(User.objects.get(pk=user), reason, change)
    for begun in range(0, len(ids), CHUNK):
        found = services.by_ids(ids[begun : begun + CHUNK])
        for queue in found:
            act(report, [queue], value, asked)
            progress.advance(1)
        progress.advance(len(ids[begun : begun + CHUNK]) - len(found))  # those that are gone
        changed = [queue for queue in found if queue.name in report.done]
        LogEntry.objects.log_actions(str(user), changed, CHANGE, f"{taken.label} (all that match).")
    return {"action": taken.label, "done": _grouped(report.done), "skipped": _grouped(report.skipped)}


def _grouped(words: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Names by what was said of them, with their number."""
    found: dict[str, list[str]] = {}
    for name, said in words.items():
        found.setdefault(said, []).append(name)
    return {said: {"count": len(names), "queues": names[:NAMED]} for said, names in found.items()}
