"""Tests at a live system, which all of them share: with one browser and a person of each kind, and by the API.

The system lives on from test to test, in any order, so each test names its queues as no other does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
import pytest
from bson import ObjectId
from playwright.sync_api import Browser, StorageState

from queuesite.foundation.databases import database
from tests.support.browser import Visitor, launched
from tests.support.live import Live, live
from tests.support.processes import manage, unmeasured

#: A user for each of the three groups, named without the s.
PEOPLE = ("viewers", "operators", "administrators")

#: Prints what the tests need of them. Only the administrator logs in by the form, since a password takes half a second
#: to make and to check.
_MAKE_PEOPLE = """
import json
from django.contrib.auth.models import Group, User
from django.test import Client
from queuesite import tokens
sessions = {{}}
for name in {people!r}:
    password = "administrator-password" if name == "administrators" else None
    user = User.objects.create_user(name[:-1], password=password, is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    if password is None:
        client = Client()
        client.force_login(user)
        sessions[user.username] = client.cookies["sessionid"].value
print(json.dumps({{"token": tokens.create("admin")[1], "sessions": sessions}}))
"""


class Visit(Protocol):
    """Opens a browser of its own for somebody who is logged in (without a name: a stranger)."""

    def __call__(self, name: str | None = "administrator", **options: Any) -> Visitor: ...


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory, mongo_database: None) -> Iterator[Live]:
    with unmeasured(), live(tmp_path_factory.mktemp("browser")) as started:
        _add_history(started)
        yield started


def _add_history(system: Live) -> None:
    """Six thousand messages were processed, and as many waited, five minutes ago: more than any test adds."""
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
    mongodb = database().client[system.database]
    mongodb["throughput"].insert_one({"_id": "done", "queueId": ObjectId(), "minute": minute, "processed": 6_000})
    mongodb["depths"].insert_one(
        {"_id": "waited", "queueId": None, "minute": minute, "visible": 6_000, "inFlight": 0, "delayed": 0}
    )


@pytest.fixture(scope="package")
def people(system: Live) -> dict[str, Any]:
    """An administrator's token (`token`), and the keys of the others' sessions (`sessions`)."""
    made = manage("shell", "-v", "0", "-c", _MAKE_PEOPLE.format(people=PEOPLE), env=system.environment)
    assert made.returncode == 0, made.stderr
    found: dict[str, Any] = json.loads(made.stdout)
    return found


@pytest.fixture(scope="package")
def browser(system: Live, people: dict[str, Any]) -> Iterator[Browser]:
    """Started after the system and ended before it, since Django refuses to work in a thread with Playwright's loop."""
    with launched() as started:
        yield started


@pytest.fixture(scope="package")
def api(system: Live, people: dict[str, Any]) -> Iterator[httpx.Client]:
    """The API with an administrator's token, for what a test needs to be there."""
    with httpx.Client(
        base_url=system.api, headers={"Authorization": f"Bearer {people['token']}"}, timeout=30
    ) as client:
        yield client


@pytest.fixture(scope="package")
def sessions(system: Live, browser: Browser, people: dict[str, Any]) -> dict[str, StorageState]:
    """The session of each person."""
    made: dict[str, StorageState] = {
        name: {"cookies": [{"name": "sessionid", "value": key, "domain": "127.0.0.1", "path": "/"}]}
        for name, key in people["sessions"].items()
    }
    visitor = Visitor(browser, system.address)
    made["administrator"] = visitor.log_in("administrator", "administrator-password")
    visitor.close()
    return made


@pytest.fixture
def visit(system: Live, browser: Browser, sessions: dict[str, StorageState]) -> Iterator[Visit]:
    """At the end every visitor's faults are told: errors of the console, requests to other machines."""
    visitors: list[Visitor] = []

    def start(name: str | None = "administrator", **options: Any) -> Visitor:
        visitor = Visitor(browser, system.address, storage_state=None if name is None else sessions[name], **options)
        visitors.append(visitor)
        return visitor

    yield start
    faults = []
    for visitor in visitors:
        try:
            visitor.close()
        except AssertionError as error:
            faults.append(str(error))
    assert not faults, "\n".join(faults)
