"""The queues that need attention, as the overview lists them: what is wrong, and what helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpRequest

from jobs.admin.pages import problem_rows, queue_address
from jobs.admin.queues.actions import ACTIONS
from jobs.attention import Attention
from queues.health.rules import Health
from queuesite.admin.records import address

#: Actions (`jobs.admin.queues.actions`) that help with a problem, the best first.
HELPS: Mapping[Health, tuple[str, ...]] = {
    Health.VANISHED: ("delete",),
    Health.UNSERVED: (),
    Health.CRASH_LOOPING: ("pause", "try-now"),
    Health.TRIPPED: ("try-now", "pause"),
    Health.FAILING: ("pause",),
    Health.STUCK: ("notify", "pause"),
    Health.MESSAGE_TOO_OLD: ("pause",),
    Health.BACKLOG_TOO_LARGE: ("pause",),
    Health.TOO_MANY_DEAD_LETTERS: ("redrive",),
    Health.STARVED: ("notify",),
    Health.PAUSED_WITH_BACKLOG: ("resume",),
    Health.DEAD_LETTERS_GROWING: ("redrive",),
}
#: Those that lead to the workers: more of them help.
_CAPACITY = {Health.STARVED, Health.UNSERVED, Health.STUCK, Health.MESSAGE_TOO_OLD, Health.BACKLOG_TOO_LARGE}
#: Those that another value of a setting may end.
_TO_SET = {Health.UNSERVED, Health.STARVED, Health.MESSAGE_TOO_OLD, Health.BACKLOG_TOO_LARGE}
#: Those that lead to the dead letters.
_DEAD = {Health.DEAD_LETTERS_GROWING, Health.TOO_MANY_DEAD_LETTERS}


def rows(request: HttpRequest, found: Sequence[Attention]) -> list[dict[str, Any]]:
    """A row for each of these queues, with the links and actions that the user has the permissions for."""
    return [_row(request, one) for one in found]


def _row(request: HttpRequest, one: Attention) -> dict[str, Any]:
    may = request.user.has_perm
    healths = [problem.health for problem in one.problems]
    helpful = dict.fromkeys(name for health in healths for name in HELPS[health])
    actions = [ACTIONS[name] for name in helpful]
    links = []
    if one.failure is not None and may("jobs.view_failure"):
        links.append({"text": "Traceback", "address": address("jobs_failure_change", one.failure.id)})
    if Health.CRASH_LOOPING in healths and may("jobs.view_job"):
        links.append({"text": "Jobs", "address": address("jobs_job_changelist", queue=one.queue.name)})
    if one.queue.dlq_url and _DEAD & set(healths) and may("queues.peek_message"):
        links.append({"text": "Dead letters", "address": address("queues_queue_dead_letters", one.queue.name)})
    if _CAPACITY & set(healths) and may("jobs.view_worker"):
        links.append({"text": "Workers", "address": address("jobs_worker_changelist")})
    if _TO_SET & set(healths) and may("queues.change_queue"):
        links.append({"text": "Settings", "address": address("queues_queue_settings", one.queue.name)})
    raises = Health.STARVED in healths and may("jobs.change_worker")
    return {
        "queue": one.queue,
        "address": queue_address(one.queue.name),
        "problems": problem_rows(one.problems),
        "remedy": one.problems[0].remedy,
        "failure": one.failure if may("jobs.view_failure") else None,
        "links": links,
        "raise_capacity": address("jobs_worker_capacity", queue=one.queue.name) if raises else None,
        "actions": [action for action in actions if may(action.permission) and action.offered(one.queue)],
    }
