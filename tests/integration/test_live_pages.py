"""What pages get that keep themselves up to date: only what changed, compressed, and without secrets."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from queues import services
from queues.models import Queue
from queuesite.foundation.databases import collection
from queuesite.live import NO_TOKEN
from tests.support import records

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

LIST = reverse("admin:queues_queue_changelist")
PART = re.compile(r'<tr id="(row-[^"]*)" data-part="([0-9a-f]{16})">')
SAME = re.compile(r'<tr id="(row-[^"]*)" data-same></tr>')


@pytest.fixture
def page(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    for name in ("first", "second", "third"):
        records.define(name)
    return client


def update(client: Client, shown: Any, etag: str | None = None) -> Any:
    """What a page asks for that shows these parts."""
    headers = {"HX-Request": "true", "X-Parts": ",".join(shown)}
    return client.get(LIST, headers={**headers, **({"If-None-Match": etag} if etag else {})})


def test_only_what_changed_is_sent(page: Client) -> None:
    whole = page.get(LIST).content.decode()
    shown = dict(PART.findall(whole))
    assert len(shown) == 3

    nothing = update(page, shown.values())
    assert set(SAME.findall(nothing.content.decode())) == set(shown)
    again = update(page, shown.values(), nothing.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")

    second = services.get("second")
    collection(Queue).update_one({"_id": second.id}, {"$set": {"depthVisible": 7}})
    changed = update(page, shown.values(), nothing.headers["ETag"])
    assert changed.status_code == 200
    assert [key for key, _ in PART.findall(changed.content.decode())] == [f"row-queues-{second.id}"]
    assert len(SAME.findall(changed.content.decode())) == 2


def test_an_update_holds_no_token_and_is_compressed(page: Client) -> None:
    whole = page.get(LIST, headers={"Accept-Encoding": "gzip"})
    assert whole.headers["Content-Encoding"] == "gzip"
    part = update(page, ())
    tokens = re.findall(r'name="csrfmiddlewaretoken" value="([^"]*)"', part.content.decode())
    assert set(tokens) == {NO_TOKEN}
    overview = page.get(reverse("admin:index"), headers={"HX-Request": "true"}).content.decode()
    assert page.cookies["csrftoken"].value not in overview
    packed = page.get(LIST, headers={"HX-Request": "true", "Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.content) < len(part.content) / 3


def test_pages_load_only_the_libraries_that_they_use(page: Client) -> None:
    def scripts(path: str) -> set[str]:
        found = re.findall(r'<script src="[^"]*/([^/"]*\.js)"', page.get(path).content.decode())
        return set(found)

    lists = scripts(LIST)
    assert {"idiomorph.min.js", "live.js", "moments.js"} <= lists
    assert not lists & {"chart.js", "alpine.sort.js", "alpine.resize.js", "htmx.js", "jquery.min.js", "xregexp.min.js"}
    users = scripts(reverse("admin:auth_user_changelist"))
    assert {"alpine.sort.js", "alpine.resize.js"} <= users
    assert not users & {"chart.js", "live.js", "idiomorph.min.js"}
