"""The predefined groups: what a `migrate` makes and grants, and what it leaves as an administrator has it."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from queuesite import groups
from queuesite.groups import Grants
from queuesite.models import PredefinedGroup, Token

pytestmark = pytest.mark.django_db

VIEW_TOKEN = "queuesite.view_token"


def permissions(name: str) -> set[str]:
    return {
        f"{label}.{codename}"
        for label, codename in Group.objects.get(name=name).permissions.values_list(
            "content_type__app_label", "codename"
        )
    }


def permission(name: str) -> Permission:
    label, _, codename = name.partition(".")
    return Permission.objects.get(content_type__app_label=label, codename=codename)


def migrate() -> None:
    """What every `migrate` ends in, also one that has nothing to do."""
    call_command("migrate", verbosity=0)


@pytest.fixture
def viewers_see_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new version, whose page grants more than it did."""
    page = admin.site._registry[Token]
    monkeypatch.setattr(type(page), "grants", Grants(viewers=("view_token",)))


def test_each_group_has_what_the_pages_declare() -> None:
    declared = groups.declared()
    assert list(declared) == list(groups.NAMES)
    assert declared["viewers"] < declared["operators"] < declared["administrators"]
    assert {name: permissions(name) for name in groups.NAMES} == declared


def test_a_permission_that_was_taken_away_does_not_come_back_and_one_that_was_given_stays() -> None:
    viewers = Group.objects.get(name="viewers")
    viewers.permissions.remove(permission("jobs.view_job"))
    viewers.permissions.add(permission("queues.send_message"))
    before = permissions("viewers")

    migrate()

    assert permissions("viewers") == before
    assert "jobs.view_job" in permissions("operators")


@pytest.mark.usefixtures("viewers_see_tokens")
def test_a_permission_of_a_new_version_is_granted_once() -> None:
    assert VIEW_TOKEN not in permissions("viewers")
    migrate()
    assert VIEW_TOKEN in permissions("viewers")

    Group.objects.get(name="viewers").permissions.remove(permission(VIEW_TOKEN))
    migrate()
    assert VIEW_TOKEN not in permissions("viewers")


@pytest.mark.usefixtures("viewers_see_tokens")
def test_a_renamed_group_is_followed_and_a_deleted_one_is_not_made_again() -> None:
    Group.objects.filter(name="viewers").update(name="readers")
    Group.objects.get(name="operators").delete()

    migrate()

    assert set(Group.objects.values_list("name", flat=True)) == {"readers", "administrators"}
    assert VIEW_TOKEN in permissions("readers")


def test_a_group_of_the_same_name_that_was_there_before_is_left_alone() -> None:
    PredefinedGroup.objects.all().delete()
    Group.objects.all().delete()
    Group.objects.create(name="viewers")

    migrate()
    migrate()

    assert permissions("viewers") == set()
    assert permissions("operators") == groups.declared()["operators"]


def test_a_permission_that_does_not_exist_is_never_declared() -> None:
    names = {permission(name) for name in groups.declared()["administrators"]}
    assert len(names) == len(groups.declared()["administrators"])


def test_every_page_of_the_sidebar_declares_who_may_see_it() -> None:
    pages = admin.site._registry.values()
    assert [page for page in pages if hasattr(page, "place") and not hasattr(page, "grants")] == []
