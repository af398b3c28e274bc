"""The admin's sidebar: its pages by what they are for, each for who may see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy


def _may(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: bool(request.user.has_perm(permission))


def _page(title: str, icon: str, model: str, permission: str | None = None) -> dict[str, Any]:
    """The list of a model (`app_model`); its permission is to see that, where no other is named."""
    app, _, name = model.rpartition("_")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model}_changelist"),
        "permission": _may(permission or f"{app}.view_{name}"),
    }


def sidebar() -> list[dict[str, Any]]:
    """As the theme takes it (UNFOLD["SIDEBAR"]["navigation"])."""
    return [
        {
            "items": [
                {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                _page("Queues", "stacks", "queues_queue"),
                _page("Jobs", "play_circle", "jobs_job"),
                _page("Failures", "error", "jobs_failure"),
            ]
        },
        {
            "title": "Processes",
            "separator": True,
            "items": [
                _page("Workers", "memory", "jobs_worker"),
                _page("Masters", "hub", "jobs_master", "jobs.view_lease"),
                _page("Background tasks", "pending_actions", "queuesite_backgroundtask"),
                _page("Schedules", "schedule", "django_q_schedule"),
            ],
        },
        {
            "title": "Access",
            "separator": True,
            "items": [
                _page("Tokens", "key", "queuesite_token"),
                _page("Users", "person", "auth_user"),
                _page("Groups", "group", "auth_group"),
                _page("Login attempts", "lock", "axes_accessattempt"),
                _page("Log", "history", "admin_logentry"),
            ],
        },
        {
            "title": "Runs by django-q2",
            "separator": True,
            "collapsible": True,
            "items": [
                _page("Queued tasks", "hourglass", "django_q_ormq"),
                _page("Successful tasks", "check_circle", "django_q_success"),
                _page("Failed tasks", "cancel", "django_q_failure"),
            ],
        },
    ]
