"""Migrations that carry rows over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def migrate() -> Iterator[Any]:
    def to(name: str) -> Any:
        executor = MigrationExecutor(connection)
        return executor.migrate([("queuesite", name)]).apps

    yield to
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


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
