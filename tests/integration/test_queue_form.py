"""The form of a queue's settings: options of every type, and all that is wrong at once."""

from __future__ import annotations

import html
import json
from datetime import timedelta
from typing import Any, Literal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pydantic import BaseModel, HttpUrl, SecretStr

from queues import services
from queues.handlers import registry
from queues.handlers.registry import Handler
from queues.handlers.secrets import MASK
from queuesite.foundation.errors import InvalidInput
from tests.support.pages import problems

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

ADD = reverse("admin:queues_queue_add")


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    return client


class Account(BaseModel):
    user: str
    password: SecretStr


class PictureOptions(BaseModel):
    hook: HttpUrl
    tags: list[str] = ["new"]
    widths: list[int] = []
    formats: set[Literal["png", "jpg"]] = {"png"}
    limit: int | None = 5
    keep: bool = False
    pause: timedelta = timedelta(seconds=90)
    headers: dict[str, str] = {}
    keys: dict[str, SecretStr] = {}
    account: Account
    fallback: Account | None = None


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.all_handlers()
    made = Handler("pictures", lambda message: None, PictureOptions)
    monkeypatch.setitem(registry.registered(), "pictures", made)


def pictured(**options: str | list[str]) -> dict[str, Any]:
    """What a browser sends for a queue with the handler and these options."""
    common = {
        "name": "orders", "with_dlq": "on", "handler": "pictures", "concurrency": 5, "priority": 0, "max_consumers": 1,
        "visibility_timeout": 30, "max_receive_count": 5,
    }  # fmt: skip
    return {**common, **{f"handler_options.pictures.{name}": value for name, value in options.items()}}


GOOD: dict[str, Any] = {
    "hook": "https://example.com/", "account.user": "ada", "account.password": "s3cr3t", "tags": "a\r\nb, c",
    "widths": "10\r\n20", "formats": ["jpg", "png"], "limit:nothing": "on", "keep": "true", "pause": "2 min",
    "headers": "A: b", "keys": "X: s3cr3t",
}  # fmt: skip
STORED = {
    "hook": "https://example.com/", "account": {"user": "ada", "password": "s3cr3t"}, "tags": ["a", "b, c"],
    "widths": [10, 20], "formats": ["jpg", "png"], "limit": None, "keep": True, "pause": "PT2M", "headers": {"A": "b"},
    "keys": {"X": "s3cr3t"},
}  # fmt: skip


@pytest.mark.usefixtures("pictures")
def test_options_of_every_type_are_typed_shown_and_kept(admin: Client) -> None:
    assert admin.post(ADD, pictured(**GOOD)).status_code == 302
    queue = services.get("orders")
    assert queue.handler_options == STORED
    page = admin.get(reverse("admin:queues_queue_settings", args=["orders"]))
    shown = html.unescape(page.content.decode())
    assert "s3cr3t" not in shown
    for part in (">\na\nb, c</textarea>", 'value="2 minutes"', "X: ********", "default: 1 minute 30 seconds"):
        assert part in shown
    as_shown = pictured(**{**GOOD, "account.password": MASK, "keys": f"X: {MASK}", "pause": "2 minutes"})
    hidden = {one.html_initial_name: one.initial for one in page.context["adminform"].form if one.initial is not None}
    sent = as_shown | hidden | {"initial-handler_options": json.dumps(hidden["initial-handler_options"])}
    assert admin.post(reverse("admin:queues_queue_settings", args=["orders"]), sent).status_code == 302
    assert services.get("orders").handler_options == STORED
    assert LogEntry.objects.latest("action_time").change_message == "Saved without a change."


@pytest.mark.usefixtures("pictures")
def test_all_that_is_wrong_is_told_at_once_each_at_its_field(admin: Client) -> None:
    wrong = {
        "widths": "10\r\nx", "account.password": "s3cr3t", "headers": "A: b\r\nC", "keys": "X: s3cr3t",
        "fallback.user": "bob", "pause": "soon", "tags": "kept",
    }  # fmt: skip
    data = pictured(**wrong) | {"name": "or ders", "concurrency": 99, "pool": "g p u", "priority": "x"}
    data |= {"initial-handler_options": "{}"}
    answer = admin.post(ADD, data)
    fields = answer.context["adminform"].form.errors
    assert set(fields) == {"name", "concurrency", "pool", "priority", "handler_options"}
    assert "6 options are wrong: hook, widths.1, pause, headers" in fields["handler_options"][0]
    assert problems(answer) == {
        "pictures.hook": "Field required",
        "pictures.widths": "item 2: Input should be a valid integer, unable to parse string as an integer",
        "pictures.pause": "Input should be a valid timedelta, invalid digit in duration",
        "pictures.headers": "line 2: expected name: value",
        "pictures.keys": "a secret is not shown again: type it once more",
        "pictures.account.user": "Field required",
        "pictures.account.password": "a secret is not shown again: type it once more",
        "pictures.fallback.password": "Field required",
    }
    page = html.unescape(answer.content.decode())
    assert "s3cr3t" not in page
    for kept in (">\nkept</textarea>", ">\n10\nx</textarea>", ">\nX:</textarea>", 'value="bob"', 'value="soon"'):
        assert kept in page

    with pytest.raises(InvalidInput) as caught:
        services.create("or ders", settings={"handler": "pictures", "concurrency": 99, "handler_options": {"tags": 1}})
    assert {name for name, _ in caught.value.fields} == {
        "name", "concurrency", "handler_options.hook", "handler_options.tags", "handler_options.account",
    }  # fmt: skip


def test_settings_of_fifo_queues_are_asked_for_only_there(admin: Client) -> None:
    """A new queue's page has them and shows them by the name (see the browser's tests)."""
    assert "high_throughput" in admin.get(ADD).context["adminform"].form.fields
    common = pictured() | {"handler": "log", "high_throughput": "true", "content_based_deduplication": "unknown"}
    refused = admin.post(ADD, common).context["adminform"].form.errors
    assert list(refused) == ["high_throughput"]
    assert "only for FIFO queues" in refused["high_throughput"][0]
    assert admin.post(ADD, common | {"name": "orders.fifo"}).status_code == 302
    queue = services.get("orders.fifo")
    assert (queue.high_throughput, queue.content_based_deduplication) == (True, None)
    assert admin.post(ADD, common | {"name": "plain", "high_throughput": "unknown"}).status_code == 302

    for name, asked in (("orders.fifo", True), ("plain", False)):
        page = admin.get(reverse("admin:queues_queue_settings", args=[name]))
        assert ("high_throughput" in page.context["adminform"].form.fields) is asked
        assert ("High throughput" in page.content.decode()) is asked
        shown = admin.get(reverse("admin:queues_queue_change", args=[name])).content.decode()
        assert ("High throughput" in shown) is asked
