"""All addresses of the admin, from the URL resolver, and who may open each.

New pages are found automatically. A page of a model needs the permission to view that model; a page that needs another
permission, or belongs to no model, is in `NEEDS`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.urls import URLPattern, URLResolver, get_resolver

#: What a page needs: permissions, None (anybody), or the empty set (anybody of the staff).
Needed = frozenset[str] | None
STAFF: Needed = frozenset()


def _all(*permissions: str) -> Needed:
    return frozenset(permissions)


#: What pages need, by the name of the address.
NEEDS: Mapping[str, Needed] = {
    "index": STAFF,
    "login": None,
    "logout": None,
    "password_change": STAFF,
    "password_change_done": STAFF,
    "jsi18n": STAFF,
    "view_on_site": STAFF,
    "autocomplete": STAFF,
    "search": STAFF,
    "find": STAFF,  # it finds what the user may see
    "toggle_sidebar": STAFF,
    "status": STAFF,
    "app_list": STAFF,
    "columns": STAFF,
    "": STAFF,
    "jobs_master_changelist": _all("jobs.view_lease"),
    "jobs_master_change": _all("jobs.view_lease"),
    "jobs_master_history": _all("jobs.view_lease"),
    "jobs_handlerversion_changelist": _all("queues.view_queue"),
    "jobs_handlerversion_change": _all("queues.view_queue"),
    "jobs_handlerversion_history": _all("queues.view_queue"),
    "jobs_failure_resolve": _all("jobs.delete_failure"),
    "jobs_failure_letters": _all("jobs.view_failure"),  # what it does depends on the request
    "jobs_worker_drain": _all("jobs.change_worker"),
    "jobs_alert_silence": _all("jobs.silence_alert"),
    "jobs_alert_end": _all("jobs.silence_alert"),
    "jobs_alert_test": _all("jobs.test_alert"),
    "jobs_worker_capacity": _all("jobs.change_worker"),
    "auth_user_password_change": _all("auth.change_user"),
    "auth_user_password_link": _all("auth.change_user"),
    "auth_user_invite": _all("auth.add_user", "auth.change_user"),
    "queues_queue_adopt": _all("queues.add_queue", "queues.change_handler"),
    "queues_queue_discover": _all("queues.add_queue"),
    "queues_queue_undo": _all("queues.change_queue"),
    "queues_queue_act": STAFF,  # depends on the action in the request
}
_VERBS = {"add": "add", "delete": "delete"}


@dataclass(frozen=True)
class Address:
    """An address, and the model (`app_model`) whose pages it is one of."""

    path: str
    name: str
    model: str

    def may(self, user: User | None) -> bool:
        """Whether this user may open it. Staff without permissions may open pages that show nothing of the system."""
        if self.name in NEEDS:
            needed = NEEDS[self.name]
        elif self.model:
            app, _, model = self.model.rpartition("_")
            needed = frozenset({f"{app}.{_VERBS.get(self.name.removeprefix(self.model + '_'), 'view')}_{model}"})
        else:
            raise AssertionError(f"{self.path} ({self.name}): add to NEEDS what it needs")
        if needed is None:
            return True
        return user is not None and user.is_active and user.is_staff and user.has_perms(needed)


def addresses(ids: Mapping[str, object], other: str | None = None) -> list[Address]:
    """Every address of the admin, with the ids of objects by their model, or with `other` instead of each id."""
    admin = next(
        one for one in get_resolver().url_patterns if isinstance(one, URLResolver) and one.namespace == "admin"
    )
    return list(dict.fromkeys(_walk(admin, "/", ids, other)))


def _walk(part: URLResolver, before: str, ids: Mapping[str, object], other: str | None) -> Iterator[Address]:
    before += str(part.pattern).removeprefix("^")
    for one in part.url_patterns:
        if isinstance(one, URLResolver):
            yield from _walk(one, before, ids, other)
        elif isinstance(one, URLPattern):
            route = before + re.sub(r"^\^|\\Z|\$$", "", str(one.pattern))
            model_name = next((model for model in ids if (one.name or "").startswith(f"{model}_")), "")
            for path in _filled(route, ids.get(model_name, "1") if other is None else other):
                yield Address(path, one.name or "", model_name)


def _filled(route: str, key: object) -> list[str]:
    groups = re.findall(r"\(\?P<\w+>([^)]*)\)", route)
    choices = [text.split("|") if text != ".*" else ["no/such/"] for text in groups]
    route = re.sub(r"\(\?P<\w+>[^)]*\)", "{}", re.sub(r"<(?:\w+:)?\w+>", str(key).replace("{", "{{"), route))
    return [route.format(*some) for some in itertools.product(*choices)]
