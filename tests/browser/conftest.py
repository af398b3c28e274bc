"""Browser tests: one live system and one browser for each module, and a person of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import httpx
import pytest
from playwright.sync_api import Browser, StorageState

from tests.support.browser import Visitor, chromium, launched
from tests.support.live import Live, live
from tests.support.processes import manage

#: A user for each of the three groups, named without the s.
PEOPLE = ("viewers", "operators", "administrators")

_MAKE_PEOPLE = """
from django.contrib.auth.models import Group, User
for name in {people!r}:
    user = User.objects.create_user(name[:-1], password=name[:-1] + "-password", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
"""


class Visit(Protocol):
    """Opens a browser of its own for somebody who is logged in (without a name: a stranger).

    Who comes for the first time logs in by the form; later visits go on with that session.
    """

    def __call__(self, name: str | None = "administrator", **options: Any) -> Visitor: ...


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, mongo_database: None) -> Iterator[Live]:
    chromium()  # where there is none, nothing need be started
    with live(tmp_path_factory.mktemp("browser")) as started:
        made = manage("shell", "-c", _MAKE_PEOPLE.format(people=PEOPLE), env=started.environment)
        assert made.returncode == 0, made.stderr
        yield started


@pytest.fixture(scope="module")
def browser(system: Live) -> Iterator[Browser]:
    """Started after the system and ended before it, since Django refuses to work in a thread with Playwright's loop."""
    with launched() as started:
        yield started


@pytest.fixture(scope="module")
def api(system: Live) -> Iterator[httpx.Client]:
    """The API with an administrator's token, for what a test needs to be there."""
    headers = {"Authorization": f"Bearer {system.token()}"}
    with httpx.Client(base_url=system.api, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def sessions() -> dict[str, StorageState]:
    """The session of each person who has logged in."""
    return {}


@pytest.fixture
def visit(system: Live, browser: Browser, sessions: dict[str, StorageState]) -> Iterator[Visit]:
    """At the end every visitor's faults are told: errors of the console, requests to other machines."""
    visitors: list[Visitor] = []

    def start(name: str | None = "administrator", **options: Any) -> Visitor:
        visitor = Visitor(browser, system.address, storage_state=sessions.get(name or ""), **options)
        visitors.append(visitor)
        if name is not None and name not in sessions:
            sessions[name] = visitor.log_in(name, f"{name}-password")
        return visitor

    yield start
    faults = []
    for visitor in visitors:
        try:
            visitor.close()
        except AssertionError as error:
            faults.append(str(error))
    assert not faults, "\n".join(faults)
