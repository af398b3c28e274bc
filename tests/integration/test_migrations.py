"""Migrations that carry rows over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker


@pytest.fixture
def migrate(django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> Iterator[Any]:
    """Migrates a copy of the database.

    A test that is marked as transactional would empty every table at its end, also of what migrations put there.
    """

    def to(name: str) -> Any:
        executor = MigrationExecutor(connection)
        return executor.migrate([("queuesite", name)]).apps

    settings = connection.settings_dict
    original, copy = settings["NAME"], tmp_path / "copy.sqlite3"
    with django_db_blocker.unblock():
        connection.ensure_connection()
        with closing(sqlite3.connect(copy)) as target:
            connection.connection.backup(target)
        connection.close()
        settings["NAME"] = copy
        yield to
        connection.close()
        settings["NAME"] = original


def test_tasks_and_keys_go_to_the_key_of_their_user(migrate: Any) -> None:
    from django.contrib.auth.models import User

    old = migrate("0002_groups")
    ada = User.objects.create(username="ada")
    for owner in ("ada", "gone"):
        old.get_model("queuesite", "BackgroundTask").objects.create(id=owner, kind="sync", owner=owner)
        old.get_model("queuesite", "IdempotentRequest").objects.create(owner=owner, key="k", fingerprint="f")

    new = migrate("0006_permissions_of_groups")

    tasks = new.get_model("queuesite", "BackgroundTask").objects.values_list("id", "owner_id")
    assert dict(tasks) == {"ada": ada.pk, "gone": None}
    keys = new.get_model("queuesite", "IdempotentRequest").objects.values_list("owner_id", "key")
    assert list(keys) == [(ada.pk, "k")]


def test_groups_of_an_earlier_version_keep_what_was_changed(migrate: Any) -> None:
    """What the migrations of an earlier version granted is not granted again."""
    from django.contrib.auth.models import Group, Permission
    from django.core.management import call_command

    migrate("0006_permissions_of_groups")
    viewers = Group.objects.get(name="viewers")
    viewers.permissions.remove(Permission.objects.get(codename="view_job"))

    call_command("migrate", verbosity=0)

    viewers.refresh_from_db()
    assert not viewers.permissions.filter(codename="view_job").exists()
    assert viewers.permissions.filter(codename="view_worker").exists()
