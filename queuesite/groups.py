"""The predefined groups, and the permissions that each page declares for them.

Every `migrate` makes the groups that are missing and grants the permissions that are new, each of them once. So a new
version's permissions reach the groups, and what an administrator has changed stays changed: a permission that was
taken away is not granted again, and a group that was deleted is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig
from django.apps import apps as current_apps
from django.contrib import admin
from django.db import transaction

#: From the least to the most powerful. Each group also has what those before it have.
NAMES = ("viewers", "operators", "administrators")
#: What each may do, for people who choose one.
MEANS = {
    "viewers": "see everything but messages, and change nothing",
    "operators": "also pause, change settings, send, look at messages, redrive, drain workers",
    "administrators": "also create, delete and purge queues, choose handlers, manage users and tokens",
}


@dataclass(frozen=True)
class Grants:
    """Permissions that a page or its API operations ask for, as the attribute `grants` of its `ModelAdmin`.

    Each is a codename in the app of the page's model, such as `view_job`, under the least powerful group that has it.
    """

    viewers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    administrators: tuple[str, ...] = ()


def declared() -> dict[str, set[str]]:
    """The permissions (`app.codename`) that the pages declare for each group, including those of lesser groups."""
    admin.autodiscover()  # does nothing if the pages are loaded
    found: dict[str, set[str]] = {name: set() for name in NAMES}
    for model, page in admin.site._registry.items():
        grants: Grants | None = getattr(page, "grants", None)
        if grants is not None:
            for position, name in enumerate(NAMES):
                for group in NAMES[position:]:
                    found[group] |= {f"{model._meta.app_label}.{codename}" for codename in getattr(grants, name)}
    return found


def grant(app_config: AppConfig, using: str, apps: Any = current_apps, **_: Any) -> None:
    """Receives `post_migrate`: grants the permissions of one app that have not been granted before."""
    if using != "default":
        return
    try:
        records = apps.get_model("queuesite", "PredefinedGroup").objects.using(using)
    except LookupError:  # migrated back to before it existed
        return
    label = app_config.label
    existing = {
        f"{label}.{permission.codename}": permission
        for permission in apps.get_model("auth", "Permission")
        .objects.using(using)
        .filter(content_type__app_label=label)
    }
    for name, wanted in declared().items():
        own = {one: existing[one] for one in wanted & existing.keys()}
        if own:
            with transaction.atomic(using=using):
                _grant(records, name, own, apps, using)


def _grant(records: Any, name: str, permissions: Mapping[str, Any], apps: Any, using: str) -> None:
    groups = apps.get_model("auth", "Group").objects.using(using)
    record = records.select_for_update().filter(name=name).first()
    if record is None:
        # A group that somebody made before under this name is theirs: it is left as it is.
        group = None if groups.filter(name=name).exists() else groups.create(name=name)
        record = records.create(name=name, group=group)
    new = {name: found for name, found in permissions.items() if name not in record.granted}
    if not new:
        return
    if record.group is not None:
        record.group.permissions.add(*new.values())
    record.granted = sorted({*record.granted, *new})
    record.save(using=using)
