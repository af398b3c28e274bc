"""Pages that ask SQS wait for it together no longer than their limit, and say that it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from queues import patience
from queues.patience import Patience
from queuesite.foundation import actor
from queuesite.foundation.actor import acting
from queuesite.foundation.errors import NotFound, SqsUnavailable
from tests.conftest import Configure
from tests.support import records
from tests.support.api import everything

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

AWAY = "SQS has not answered within 0.2 s: it is away, or very slow"


class Silent:
    """An SQS that takes requests and answers none, until it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.gone = threading.Event()

    def __getattr__(self, name: str) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            self.gone.wait(60)
            raise SqsUnavailable("it is gone")

        return ask


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, configure: Configure) -> Iterator[Silent]:
    sqs = Silent()
    configure(sqs_patience_seconds=0.2)
    for module in ("services", "peek", "adoption"):
        monkeypatch.setattr(f"queues.{module}.gateway_in", lambda region: sqs)
    yield sqs
    sqs.gone.set()
    for thread in threading.enumerate():
        if thread.name == "asks-sqs":
            thread.join(60)


def test_pages_say_that_sqs_is_away(silent: Silent, client: Client) -> None:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    chosen = [
        str(records.define(name, depth_visible=7, dead_letters=2, dlq_url=f"http://sqs/{name}-dlq").id)
        for name in ("orders", "mails")
    ]

    def says(name: str, data: dict[str, Any] | None = None) -> str:
        address = reverse(f"admin:queues_queue_{name}", args=["orders"])
        answer = client.get(address) if data is None else client.post(address, data)
        assert answer.status_code == 200
        return answer.content.decode()

    for page in ("messages", "dead_letters"):
        assert says(page).count(AWAY) == 1
        assert says(page, {"do": "look", "last": "on"}).count(AWAY) == 1, "once, though the page asks twice"
    assert AWAY in client.get(reverse("admin:queues_queue_discover")).content.decode()
    act = reverse("admin:queues_queue_act")
    question = client.post(act, {"action": "purge", "chosen": chosen}).content.decode()
    assert question.count("last observed; SQS did not answer") == 2
    assert "14 messages" in question
    done = client.post(act, {"action": "redrive", "chosen": chosen, "sure": "yes"}, follow=True).content.decode()
    assert AWAY in done
    asked = silent.asked
    assert client.get(reverse("admin:queues_queue_change", args=["orders"])).status_code == 200
    assert silent.asked == asked, "a queue's page shows what was last seen, and asks nobody"


def test_the_api_says_what_it_does_not_know_and_what_was_last_seen(silent: Silent) -> None:
    records.define("orders", depth_visible=7, dead_letters=2, dlq_url="http://sqs/orders-dlq")
    api = everything()

    size = api.get("/queues/orders/size").problem(503)

    assert size["detail"] == f"the size of 'orders' cannot be determined: {AWAY}"
    assert (size["lastSeen"]["visible"], size["lastSeen"]["deadLetters"]) == (7, 2)
    for method, path, unknown in (
        ("POST", "/queues/orders/messages/peek", "what 'orders' holds"),
        ("POST", "/queues/orders/dead-letters/peek", "what the dead letters of 'orders' are"),
        ("GET", "/discover", "what may be adopted"),
    ):
        assert api.request(method, path).problem(503)["detail"] == f"{unknown} cannot be determined: {AWAY}"
    assert api.get("/queues/orders").ok()["depth"]["visible"] == 7


def test_an_answer_an_error_and_who_asks_come_through() -> None:
    with acting(lambda: "ada"):
        assert Patience(30).ask(actor.current) == "ada"

    def fails() -> None:
        raise NotFound("there is none")

    with pytest.raises(NotFound, match="there is none"):
        Patience(30).ask(fails)

    def times_out() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        Patience(30).ask(times_out)


def test_when_the_time_is_up_or_too_many_wait_nothing_more_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with pytest.raises(SqsUnavailable):
        Patience(0).ask(lambda: asked.append("late"))
    gate = threading.Event()
    monkeypatch.setattr(patience, "_open", threading.BoundedSemaphore(1))
    with pytest.raises(SqsUnavailable):
        Patience(0.05).ask(lambda: gate.wait(60))
    with pytest.raises(SqsUnavailable):
        Patience(30).ask(lambda: asked.append("one too many"))
    assert asked == []
    gate.set()
    until = time.monotonic() + 60
    while asked == [] and time.monotonic() < until:
        try:
            Patience(30).ask(lambda: asked.append("again"))
        except SqsUnavailable:
            threading.Event().wait(0.01)
    assert asked == ["again"]


def test_without_a_thread_no_place_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(patience, "_open", threading.BoundedSemaphore(1))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="new thread"):
            Patience(30).ask(lambda: None)
    assert Patience(30).ask(lambda: "asked") == "asked"
