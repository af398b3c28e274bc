"""The admin's sidebar, made from the place that each page declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse


class Section(Enum):
    """The sections of the sidebar, in their order, each with its title."""

    WORK = None
    PROCESSES = "Processes"
    ACCESS = "Access"
    DJANGO_Q = "Task runs"


@dataclass(frozen=True)
class Place:
    """A page's place in the sidebar, as the attribute `place` of its `ModelAdmin`. Whoever may see the page sees it."""

    section: Section
    #: Its position in the section.
    position: int
    title: str
    icon: str


def _may_see(page: admin.ModelAdmin[Any]) -> Callable[[HttpRequest], bool]:
    # The theme makes a deep copy of the sidebar, which would copy the whole page with a bound method.
    return lambda request: page.has_view_permission(request)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar in the theme's format (UNFOLD["SIDEBAR"]["navigation"])."""
    sections: dict[Section, list[tuple[int, dict[str, Any]]]] = {section: [] for section in Section}
    sections[Section.WORK].append((0, {"title": "Overview", "icon": "dashboard", "link": reverse("admin:index")}))
    for model, page in admin.site._registry.items():
        place: Place | None = getattr(page, "place", None)
        if place is not None:
            item = {
                "title": place.title,
                "icon": place.icon,
                "link": reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"),
                "permission": _may_see(page),
            }
            sections[place.section].append((place.position, item))
    return [
        {
            **({"title": section.value, "separator": True} if section.value else {}),
            **({"collapsible": True} if section is Section.DJANGO_Q else {}),
            "items": [item for _, item in sorted(items, key=lambda one: one[0])],
        }
        for section, items in sections.items()
    ]
