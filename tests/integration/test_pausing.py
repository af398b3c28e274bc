"""Who paused a queue, when and why is kept on it, and an action on several is undone for those that it changed."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from jobs.admin.queues import undo
from queues import pausing, services
from queues.pausing import Note
from queuesite import tokens
from queuesite.foundation.actor import acting
from queuesite.foundation.errors import InvalidInput
from tests.support.api import Api, user
from tests.support.pages import rows
from tests.support.records import define

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mongo")]

LIST, ACT, UNDO = (reverse(f"admin:queues_queue_{name}") for name in ("changelist", "act", "undo"))


@pytest.fixture
def anna(client: Client) -> Client:
    """An operator."""
    client.force_login(user("anna", ["queues.view_queue", "queues.change_queue"], is_staff=True))
    return client


def act(client: Client, action: str, *names: str, reason: str = "") -> None:
    chosen = [str(services.get(name).id) for name in names]
    assert client.post(ACT, {"action": action, "chosen": chosen, "reason": reason}).status_code == 302


def offered(client: Client) -> dict[str, str]:
    found: dict[str, str] = client.get(LIST).context["undo"]
    return found


def paused() -> set[str]:
    return {queue.name for queue in services.list_queues() if queue.paused}


def test_what_an_action_paused_is_resumed_and_nothing_else(anna: Client) -> None:
    for name in ("a", "b", "c", "d"):
        define(name)
    with acting(lambda: "bob"):
        services.set_paused("c", True, Note("his reason"))
    act(anna, "pause", "a", "b", "c", reason="  the bank\nis down ")
    assert paused() == {"a", "b", "c"}
    first = services.get("a")
    assert (first.pause_changed_by, first.pause_reason) == ("anna", "the bank is down")
    assert first.pause_changed_at is not None
    assert services.get("c").pause_changed_by == "bob"  # whom the action did not override
    assert "Pause: 2 queues" in offered(anna)["words"]

    # Somebody decided otherwise since: it is theirs.
    with acting(lambda: "bob"):
        services.set_paused("b", False)
        services.set_paused("b", True, Note("mine now"))
    answer = anna.post(offered(anna)["address"], {"change": offered(anna)["change"]}, follow=True)
    assert "1 as before: a." in answer.content.decode()
    assert paused() == {"b", "c"}
    assert services.get("a").pause_reason == "undone"
    assert services.get("a").wake_pending  # it is looked at, as after any resume
    assert offered(anna) is None


def test_a_resume_is_undone_too_but_only_once(anna: Client) -> None:
    define("a", paused=True)
    act(anna, "resume", "a")
    change = offered(anna)["change"]
    assert pausing.undo(change) == ["a"]
    assert paused() == {"a"}
    assert pausing.undo(change) == []
    answer = anna.post(UNDO, {"change": change}, follow=True)
    assert "Nothing to undo" in answer.content.decode()
    assert pausing.undo("") == []


def test_an_offer_is_dismissed_or_too_old_and_nobody_without_the_permission_undoes(
    anna: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    define("a")
    act(anna, "pause", "a")
    change = offered(anna)["change"]
    viewer = Client()
    viewer.force_login(user("viewer", ["queues.view_queue"], is_staff=True))
    assert viewer.post(UNDO, {"change": change}).status_code == 403
    with monkeypatch.context() as patch:
        patch.setattr(undo, "OFFERED", -undo.OFFERED)
        assert offered(anna) is None
    assert offered(anna)["change"] == change
    anna.post(UNDO, {"change": change, "dismiss": "1"})
    assert offered(anna) is None
    assert paused() == {"a"}


def test_pages_say_who_why_and_when(anna: Client) -> None:
    define("a")
    act(anna, "pause", "a", reason="<b>why</b>")
    page = anna.get(reverse("admin:queues_queue_change", args=["a"])).content.decode()
    assert "by anna: &lt;b&gt;why&lt;/b&gt;" in page
    listed = anna.get(LIST)
    assert [row["name"] for row in rows(listed)] == ["a"]
    assert "paused by anna: &lt;b&gt;why&lt;/b&gt;" in listed.content.decode()


def test_the_api_takes_a_reason_and_tells_it() -> None:
    define("a")
    someone = user("anna", ["queues.view_queue", "queues.change_queue"])
    api = Api(tokens.make(someone)[1])
    assert api.post("/queues/a/pause", {"reason": "the bank is down"}).ok()["changed"]
    shown = api.get("/queues/a").ok()
    assert (shown["pauseChangedBy"], shown["pauseReason"]) == ("anna", "the bank is down")
    assert shown["pauseChangedAt"]
    assert api.post("/queues/a/resume").ok()["changed"]  # without a body
    assert api.get("/queues/a").ok()["pauseReason"] == ""
    api.post("/queues/a/pause", {"reason": "x" * 501}).problem(422)
    assert api.patch("/queues/a", {"paused": True}).ok()["pauseChangedBy"] == "anna"


def test_the_api_pauses_several_and_undoes_exactly_that() -> None:
    for name in ("a", "b", "c"):
        define(name, paused=name == "c")
    api = Api(tokens.make(user("anna", ["queues.view_queue", "queues.change_queue"]))[1])
    api.post("/pause", {"queues": ["a", "none"]}).problem(404)
    assert paused() == {"c"}
    done = api.post("/pause", {"queues": ["a", "b", "c", "a"], "reason": "the bank is down"}).ok()
    assert (done["paused"], done["changed"]) == (True, ["a", "b"])
    assert api.get("/queues/a").ok()["pauseChange"] == done["change"]
    resumed = api.post("/queues/b/resume").ok()
    assert api.post("/undo", {"change": done["change"]}).ok() == {"queues": ["a"]}
    assert paused() == {"c"}
    assert api.post("/undo", {"change": resumed["change"]}).ok() == {"queues": ["b"]}
    assert api.post("/resume", {"queues": ["a"]}).ok() == {"paused": False, "changed": [], "change": None}
    assert api.post("/undo", {"change": "x"}).ok() == {"queues": []}
    api.post("/undo", {"change": ""}).problem(422)


def test_a_reason_has_a_limit() -> None:
    with pytest.raises(InvalidInput, match="at most 500"):
        Note("x" * 501)
