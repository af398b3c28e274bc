"""The sidebar is made of what each page declares: its order, and who sees what."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

WHOLE = {
    None: ["Overview", "Queues", "Jobs", "Failures", "Handlers", "Attempts", "Events", "Notices"],
    "Processes": ["Workers", "Masters", "Background tasks", "Schedules"],
    "Access": ["Tokens", "Users", "Groups", "Failed logins", "Log"],
    "Task runs": ["Queued", "Succeeded", "Failed"],
}


def sidebar(person: User) -> dict[Any, list[str]]:
    client = Client()
    client.force_login(person)
    shown = client.get(reverse("admin:index")).context["sidebar_navigation"]
    assert all(item["icon"] and item["link"] for section in shown for item in section["items"])
    return {
        section.get("title"): [item["title"] for item in section["items"] if item["has_permission"]]
        for section in shown
    }


def test_a_superuser_sees_every_page_in_its_order() -> None:
    assert sidebar(User.objects.create_superuser("root")) == WHOLE


@pytest.mark.parametrize("group", ["viewers", "operators", "administrators"])
def test_each_group_sees_the_pages_that_it_may(group: str) -> None:
    person = User.objects.create_user(group, is_staff=True)
    person.groups.add(Group.objects.get(name=group))
    hidden = {"Schedules", *WHOLE["Access"], *WHOLE["Task runs"]} if group != "administrators" else set()
    if group == "viewers":
        hidden.add("Attempts")
    assert sidebar(person) == {title: [name for name in names if name not in hidden] for title, names in WHOLE.items()}
