"""Queues in the admin: through the same services as on the command line."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse
from pymongo.collection import Collection

from jobs import reads, silences
from jobs.admin.queues.actions import ACTIONS
from jobs.repositories import throughput
from queues import adoption, repository, services, tripping
from queues.messages import send as send_messages
from queues.models import Queue
from queues.sqs import Depth, OutgoingMessage, get_gateway
from queues.state import Context, State
from queues.sync import sync
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.models import BackgroundTask
from tests.support.adopted import Owner
from tests.support.faults import SqsProxy
from tests.support.pages import problems, rows
from tests.support.records import RESIZE, announce, register

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

LIST = reverse("admin:queues_queue_changelist")
ADD = reverse("admin:queues_queue_add")
ACT = reverse("admin:queues_queue_act")


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin", password="x"))
    return client


def send(name: str, bodies: list[str]) -> None:
    send_messages(name, [OutgoingMessage(body) for body in bodies])


def form(**changes: Any) -> dict[str, Any]:
    """What a browser sends for a queue."""
    return {
        "name": "orders",
        "with_dlq": "on",
        "concurrency": 5,
        "handler": "log",
        "handler_options": "{}",
        "priority": 0,
        "max_consumers": 1,
        "visibility_timeout": 30,
        "max_receive_count": 5,
        **changes,
    }


def page(queue: Queue, name: str = "change") -> str:
    return reverse(f"admin:queues_queue_{name}", args=[queue.name])


def settings_page(queue: Queue) -> str:
    return page(queue, "settings")


def act(admin: Client, action: str, *queues: Queue, **more: Any) -> str:
    """Ask for an action, and follow to the page that tells what became of it, or asks."""
    answer = admin.post(ACT, {"action": action, "chosen": [str(q.pk) for q in queues], **more}, follow=True)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_strangers_are_asked_to_log_in(client: Client) -> None:
    for page in (LIST, ADD):
        answer = client.get(page)
        assert answer.status_code == 302
        assert "/admin/login/" in answer.headers["Location"]


def test_list_shows_and_finds_queues(admin: Client) -> None:
    services.create("orders")
    services.create("events")

    shown = admin.get(LIST).content.decode()
    assert "orders" in shown
    assert "events" in shown

    found = admin.get(LIST, {"q": "RDE"}).content.decode()
    assert page(services.get("orders")) in found
    assert page(services.get("events")) not in found


def test_list_is_filtered_by_what_state_a_queue_is_in(admin: Client) -> None:
    """Each state's filter finds the queues that are shown in it, and only those."""
    names_made = ("idle", "woken", "full", "paused", "backing-off", "crashing", "dead", "failing")
    made = {name: services.create(name) for name in names_made}
    repository.wake(made["woken"].id)
    repository.observed({made["full"].id: Depth(3, 0, 0)})
    services.set_paused("paused", True)
    later = database_clock.now() + timedelta(hours=1)
    repository.failed(made["backing-off"].id, 2, later)
    repository.failed(made["crashing"].id, 1, later - timedelta(hours=2))
    for count in (0, 4):
        repository.dead_letters_observed({made["dead"].id: count})
    minute = database_clock.now().replace(second=0, microsecond=0)
    throughput.add([throughput.Row(made["failing"].id, "failing", minute, processed=9, failed=1)])

    def names(state: str = "", health: str = "") -> set[str]:
        return {row["queue"].name for row in rows(admin.get(LIST, {"state": state, "health": health}))}

    states = {row["queue"].name: row["state"] for row in rows(admin.get(LIST))}
    assert states == {
        "idle": "idle", "dead": "idle", "failing": "idle", "woken": "waiting", "full": "waiting", "crashing": "waiting",
        "paused": "paused", "backing-off": "backing off",
    }  # fmt: skip
    for state in State:
        assert names(state) == {name for name, shown in states.items() if shown == state.label}, state
    assert names(health="crash-looping") == {"backing-off"}  # a single failed run may be an accident
    assert names(health="failing") == {"failing"}
    assert names(health="dead-letters-growing") == {"dead"}
    assert names(health="unhealthy") == {"backing-off", "failing", "dead"}
    assert names(health="healthy") == set(states) - names(health="unhealthy")
    assert names("idle", "failing") == {"failing"}
    assert names("paused", "failing") == set()


def test_list_is_sorted_and_cut_into_pages(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.admin.queues.listing.PAGE", 2)
    for depth, name in enumerate(("a", "b", "c")):
        repository.observed({services.create(name).id: Depth(depth, 0, 0)})

    first = admin.get(LIST, {"sort": "-visible"})
    assert [row["queue"].name for row in rows(first)] == ["c", "b"]
    second = admin.get(first.context["older"])
    assert [row["queue"].name for row in rows(second)] == ["a"]
    for senseless in ({"sort": "nothing"}, {"cursor": "!"}, {"state": "no"}):
        assert admin.get(LIST, senseless).status_code == 200


def test_list_asks_as_often_for_many_queues_as_for_one(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("find", "aggregate"):
        original = getattr(Collection, name)

        def counting(self: Any, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
            asked.append(self.name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(Collection, name, counting)

    def questions(**query: str) -> list[str]:
        asked.clear()
        admin.get(LIST, query)
        return sorted(asked)

    services.create("first")
    for_one = questions()
    for number in range(20):
        services.create(f"more-{number}")
    assert questions() == for_one
    assert len(for_one) < 11
    # Who works at what is read once, whatever needs it: rows, counts, filters and order.
    made: list[Context] = []
    context = reads.queue_context

    def noting(*args: Any, **given: Any) -> Context:
        made.append(context(*args, **given))
        return made[-1]

    monkeypatch.setattr(reads, "queue_context", noting)
    assert questions(health="unhealthy", state="idle", sort="-age").count("assignments") == 1
    assert len(made) == 1


def test_form_offers_the_registered_handlers(admin: Client) -> None:
    shown = admin.get(ADD).content.decode()

    assert "simulate: Sleep 1 to 5 seconds" in shown
    assert "NAME-dlq" in shown
    assert 'name="handler_options.http.url"' in shown
    assert "share of the attempts that fail, 0 to 1" in shown


def test_options_are_asked_for_one_by_one(admin: Client) -> None:
    data = form(handler="simulate")
    del data["handler_options"]
    data |= {"handler_options.simulate.min_seconds": "0.5", "handler_options.simulate.max_seconds": "",
             "handler_options.http.url": "http://example.com/"}  # fmt: skip
    admin.post(ADD, data)
    queue = services.get("orders")
    assert queue.handler_options == {"min_seconds": 0.5}
    assert 'value="0.5"' in admin.get(settings_page(queue)).content.decode()

    answer = admin.post(settings_page(queue), data | {"handler_options.simulate.failure_rate": "2"})
    assert problems(answer)["simulate.failure_rate"] == "Input should be less than or equal to 1"
    data |= {"handler_options.simulate.min_seconds": "9"}
    assert "min_seconds=9 is more than max_seconds=5" in html.unescape(
        admin.post(settings_page(queue), data).content.decode()
    )
    assert services.get("orders").handler_options == {"min_seconds": 0.5}


def test_adding_creates_the_queue_in_sqs(admin: Client) -> None:
    answer = admin.post(ADD, form(concurrency=2, priority=7), follow=True)

    assert answer.redirect_chain, answer.content.decode()
    queue = services.get("orders")
    assert (queue.concurrency, queue.priority) == (2, 7)
    assert queue.dlq_url is not None
    assert get_gateway().queue_url(services.sqs_name("orders")) == queue.queue_url


def test_adding_without_dead_letter_queue(admin: Client) -> None:
    data = form()
    del data["with_dlq"]

    admin.post(ADD, data)

    assert services.get("orders").dlq_url is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "or ders"}, "is not valid"),
        ({"name": "x" * 78}, "is too long"),
        ({"concurrency": 6}, "concurrency 6 is out of range"),
        ({"concurrency": 0}, "out of range"),
        ({"handler": ""}, "required"),
        ({"handler": "", "handler.name": "two\nlines"}, "expected 1 to 100 printable characters"),
        ({"pool": "g p u"}, "letters, digits, hyphens and underscores"),
        ({"handler": "http"}, "Field required"),
        ({"handler_options": "[1]"}, "expected a JSON object"),
        ({"handler_options": '{"a": 1}'}, "takes no options"),
        ({"priority": 10}, "priority 10 is out of range"),
        ({"visibility_timeout": ""}, "required"),
    ],
)
def test_bad_values_are_told_on_the_form(admin: Client, faulty: SqsProxy, changes: dict[str, Any], words: str) -> None:
    answer = admin.post(ADD, form(**changes))

    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert faulty.requests == []
    assert services.list_queues() == []


def test_duplicate_is_told_on_the_form(admin: Client) -> None:
    services.create("orders")

    answer = admin.post(ADD, form(), follow=True)

    assert "a queue of this name exists already; choose another name" in answer.content.decode()
    assert len(services.list_queues()) == 1


def test_refusal_of_sqs_is_told_and_leaves_nothing(admin: Client, faulty: SqsProxy) -> None:
    faulty.refuse("CreateQueue", "AccessDenied", "not you", status=403)

    answer = admin.post(ADD, form(), follow=True)

    assert "SQS refused the credentials" in answer.content.decode()
    assert services.list_queues() == []


def test_changing_changes_the_queue_in_sqs(admin: Client) -> None:
    queue = services.create("orders")

    answer = admin.post(settings_page(queue), form(visibility_timeout=99, concurrency=1), follow=True)

    assert answer.redirect_chain, answer.content.decode()
    assert get_gateway().attributes(queue.queue_url)["VisibilityTimeout"] == "99"
    assert services.get("orders").concurrency == 1


def test_name_is_fixed(admin: Client) -> None:
    queue = services.create("orders")

    admin.post(settings_page(queue), form(name="other"), follow=True)

    assert [q.name for q in services.list_queues()] == ["orders"]


def test_saving_does_not_undo_what_others_wrote_meanwhile(admin: Client) -> None:
    """The form writes what was changed in it, not the whole document as it was when the page was opened."""
    queue = services.create("orders")
    repository.wake(queue.id)
    services.set_paused("orders", True)
    woken = services.get("orders").wake_requested_at

    admin.post(settings_page(queue), form(priority=4), follow=True)

    after = services.get("orders")
    assert (after.priority, after.paused, after.wake_requested_at) == (4, True, woken)


def test_settings_of_a_queue_that_has_worked(admin: Client) -> None:
    queue = services.create("orders")
    throughput.add([throughput.Row(queue.id, "orders", database_clock.now(), processed=3, failed=1)])
    assert admin.get(settings_page(queue)).status_code == 200
    assert admin.post(settings_page(queue), form(concurrency=2)).status_code == 302
    assert services.get("orders").concurrency == 2


def test_handler_that_is_gone_can_be_seen_and_kept(admin: Client) -> None:
    queue = services.create("orders")
    repository.update(queue.id, {"handler": "gone"})
    register(has={"log": "1"})

    shown = admin.get(settings_page(queue)).content.decode()

    assert "gone (no live worker has it)" in shown
    assert "no worker has handler gone" in admin.get(page(queue)).content.decode()
    assert "no worker has handler gone" in admin.get(LIST).content.decode()


def test_handler_that_nobody_knows_is_chosen_by_its_name_with_a_warning(admin: Client) -> None:
    named = form(handler="", **{"handler.name": "resize", "handler_options.json": '{"width": 3}'})
    del named["handler_options"]

    answer = admin.post(ADD, named, follow=True)

    queue = services.get("orders")
    assert (queue.handler, queue.handler_options) == ("resize", {"width": 3})
    assert "no live worker announces handler 'resize'" in html.unescape(answer.content.decode())
    register(has={"log": "1"})
    answer = admin.post(settings_page(queue), form(handler="resize", pool="gpu"), follow=True)
    assert "pool 'gpu' is unknown" in html.unescape(answer.content.decode())


def test_options_of_a_handler_of_workers_are_asked_for_and_checked(admin: Client) -> None:
    announce(RESIZE)

    shown = html.unescape(admin.get(ADD).content.decode())
    assert "resize: Make a smaller copy." in shown
    assert 'name="handler_options.resize.width"' in shown
    given = form(handler="resize", **{"handler_options.resize.width": "many"})
    del given["handler_options"]
    assert problems(admin.post(ADD, given)) == {"resize.width": "expected type integer"}
    given |= {"handler_options.resize.width": "300", "handler_options.resize.token": "s3cr3t"}
    assert admin.post(ADD, given).status_code == 302

    queue = services.get("orders")
    assert queue.handler_options == {"width": 300, "token": "s3cr3t"}
    page = admin.get(settings_page(queue)).content.decode()
    assert "s3cr3t" not in page
    assert "********" in page


def test_deleting_asks_first_with_what_is_at_stake(admin: Client) -> None:
    one, other, kept = (services.create(name) for name in ("one", "other", "kept"))
    send("one", ["a", "b"])

    assert "2 queues, 2 messages" in act(admin, "delete", one, other)
    assert len(services.list_queues()) == 3

    for typed in ({}, {"typed": ""}, {"typed": "one"}):
        assert "Type 2, the number of queues" in act(admin, "delete", one, other, sure="yes", **typed)
    assert "2 deleted: one, other." in act(admin, "delete", one, other, sure="yes", typed="2")
    assert [q.name for q in services.list_queues()] == [kept.name]
    assert get_gateway().queue_url(services.sqs_name("one")) is None
    assert LogEntry.objects.filter(action_flag=DELETION, object_id=str(one.pk), user__username="admin").count() == 1


def test_failed_deletion_keeps_the_queue_and_says_why(admin: Client, faulty: SqsProxy) -> None:
    queue = services.create("orders")
    faulty.refuse("DeleteQueue", "AccessDenied", "not you", status=403)

    told = act(admin, "delete", queue, sure="yes", typed=queue.name)

    assert "Skipped: 1" in told
    assert "SQS refused the credentials" in told
    assert "not you" not in told  # what SQS says is for the log
    assert [q.name for q in services.list_queues()] == ["orders"]


def test_what_is_done_to_many_tells_what_was_skipped_and_why(admin: Client) -> None:
    one, other = services.create("one"), services.create("other")
    services.set_paused("other", True)

    told = act(admin, "pause", one, other)
    assert "1 paused: one." in told
    assert "Skipped: 1 paused already: other." in told
    assert services.get("one").paused
    assert "2 resumed: one, other." in act(admin, "resume", one, other)
    assert not services.get("other").paused
    assert "1 notified: one." in act(admin, "notify", one)
    assert "concurrency set from 5 to 3: one." in act(admin, "concurrency", one, value="3")
    assert services.get("one").concurrency == 3
    assert "is out of range" in act(admin, "concurrency", one, value="5000")
    assert "enter the concurrency" in act(admin, "concurrency", one, value="")
    assert "choose queues first" in act(admin, "pause")

    history = admin.get(page(one, "history")).content.decode()
    for words in ("Paused.", "Resumed.", "Notified.", "Concurrency set from 5 to 3."):
        assert words in history


def test_a_tripped_queue_shows_why_and_can_be_tried_now(admin: Client) -> None:
    one = services.create("one")
    assert "Try now" not in admin.get(page(one)).content.decode()
    tripping.tripped(one.id, 2, "stripe is unavailable", database_clock.now() + timedelta(minutes=1))

    shown = admin.get(page(one)).content.decode()
    for words in ("tripped", "stripe is unavailable", "next try <time", "Try now"):
        assert words in shown
    listed = admin.get(LIST, {"health": "tripped"}).content.decode()
    assert "stripe is unavailable" in listed
    assert "next try <time" in listed
    assert "stripe is unavailable" in admin.get(reverse("admin:index")).content.decode()
    assert "1 tried now: one." in act(admin, "try-now", one)
    assert "1 not backing off: one." in act(admin, "try-now", one)
    assert services.get("one").not_before is None


def test_purging_asks_first_and_one_is_purged_at_once(admin: Client) -> None:
    one = services.create("one")
    send("one", ["a", "b", "c"])

    assert "1 queue, 3 messages" in act(admin, "purge", one)
    assert services.size("one").depth.total == 3
    assert "1 purged: one." in act(admin, "purge", one, sure="yes")
    assert services.size("one").depth.total == 0


def test_many_are_purged_redriven_and_synced_in_the_background(admin: Client) -> None:
    one, other, bare = services.create("one"), services.create("other"), services.create("bare", with_dlq=False)
    assert one.dlq_url is not None
    get_gateway().send(one.dlq_url, [OutgoingMessage("dead")])

    assert "Background task: purge" in act(admin, "purge", one, other, sure="yes")
    told = act(admin, "redrive", one, other, bare, sure="yes")
    assert "1 to be redriven: one." in told
    assert "1 no dead-letter queue: bare; 1 no dead letters: other." in told
    assert "Background task: sync" in act(admin, "sync")
    tasks = {task.kind: (task.owner_name, task.arguments, task.total) for task in BackgroundTask.objects.all()}
    assert tasks == {
        "purge": ("admin", {"queues": ["one", "other"]}, 2),
        "redrive": ("admin", {"queue": "one"}, 1),
        "sync": ("admin", {}, None),
    }


def test_notices_of_the_chosen_queues_are_silenced_and_sent_again(admin: Client) -> None:
    one, other, third = (services.create(name) for name in ("one", "other", "third"))
    told = act(admin, "silence", one, other, minutes="120", reason="the bank is down")
    assert "2 silenced for 2 h: one, other." in told
    holding = {silence.subject: silence for silence in silences.current()}
    assert set(holding) == {"one", "other"}
    assert (holding["one"].reason, holding["one"].actor) == ("the bank is down", "admin")
    assert holding["one"].until - database_clock.now() > timedelta(minutes=100)
    assert "enter the minutes of silence, 1 to 43200" in act(admin, "silence", third, minutes="")
    assert "at most 30 days" in act(admin, "silence", third, minutes="50000")
    told = act(admin, "end-silence", one, third)
    assert "1 no longer silent: one." in told
    assert "1 not silenced: third." in told
    assert [silence.subject for silence in silences.current()] == ["other"]


@pytest.mark.parametrize(
    ("group", "may"),
    [
        ("viewers", set()),
        ("operators", set(ACTIONS) - {"purge", "delete"}),
        ("administrators", set(ACTIONS)),
    ],
)
def test_each_group_is_offered_what_it_may_and_refused_the_rest(client: Client, group: str, may: set[str]) -> None:
    queue = services.create("orders")
    user = User.objects.create_user(group, password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)

    assert set(client.get(LIST).context["actions"]) == may
    assert client.get(page(queue)).status_code == 200
    for action in set(ACTIONS) - may:
        answer = client.post(ACT, {"action": action, "chosen": [str(queue.pk)], "sure": "yes", "value": "1"})
        assert answer.status_code == 403, action
    assert services.get("orders").concurrency == 5
    assert (client.post(settings_page(queue), form(priority=3)).status_code == 403) == (group == "viewers")
    assert (client.get(ADD).status_code == 403) == (group != "administrators")


def test_page_shows_what_the_queue_does(admin: Client) -> None:
    queue = services.create("orders")
    repository.observed({queue.id: Depth(12, 3, 1)})

    answer = admin.get(page(queue), {"span": "24h"})

    visible = answer.context["charts"]["depth"]["series"][0]
    assert (visible["label"], visible["values"][-1]) == ("visible", 12)
    assert len(visible["values"]) == 96
    assert len(answer.context["charts"]["throughput"]["labels"]) == 96
    assert admin.get(page(queue), {"span": "1y"}).status_code == 404


def test_nobody_is_led_to_another_site(admin: Client) -> None:
    queue = services.create("orders")
    answer = admin.post(f"{ACT}?next=//evil.example/", {"action": "pause", "chosen": [str(queue.pk)]})
    assert answer.headers["Location"] == LIST


def test_viewer_without_permission_cannot_act(client: Client) -> None:
    queue = services.create("orders")
    viewer = User.objects.create_user("viewer", password="x", is_staff=True)
    client.force_login(viewer)

    assert client.get(LIST).status_code == 403
    client.post(ACT, {"action": "pause", "chosen": [str(queue.pk)]})

    assert not services.get("orders").paused


def test_unknown_queue(admin: Client, queues: SQSClient) -> None:
    for name in ("change", "settings", "history"):
        for key in ("5f0000000000000000000000", "nonsense"):
            assert admin.get(reverse(f"admin:queues_queue_{name}", args=[key])).status_code == 404


class TestQueuesOfOthers:
    ADOPT = reverse("admin:queues_queue_adopt")
    DISCOVER = reverse("admin:queues_queue_discover")

    @pytest.fixture
    def owner(self, queues: SQSClient) -> Owner:
        return Owner(queues, get_config().queue_name_prefix)

    @staticmethod
    def form(**changes: Any) -> dict[str, Any]:
        theirs = ("with_dlq", "visibility_timeout", "max_receive_count")
        return {name: value for name, value in form(**{"name": "", **changes}).items() if name not in theirs}

    def test_discovered_and_adopted(self, admin: Client, owner: Owner) -> None:
        url = owner.make("orders")
        found = admin.get(self.DISCOVER, {"q": owner.name("orders")})
        assert [row["name"] for row in rows(found)] == [owner.name("orders"), owner.name("orders-dead")]
        offered = admin.get(rows(found)[0]["adopt"])
        assert f'value="{url}"' in offered.content.decode()
        assert "visibility_timeout" not in offered.context["adminform"].form.fields

        answer = admin.post(self.ADOPT, self.form(queue=url, name="theirs", concurrency=2), follow=True)

        assert answer.redirect_chain, answer.content.decode()
        queue = services.get("theirs")
        assert (queue.managed, queue.queue_url, queue.concurrency) == (False, url, 2)
        shown = admin.get(page(queue)).content.decode()
        assert "Others own this queue" in shown
        assert "000000000000" in shown
        assert "adopted" in admin.get(LIST).content.decode()
        assert admin.get(self.DISCOVER, {"q": owner.name("orders")}).context["table"].rows == []

    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            ({"queue": "arn:aws:s3:::bucket"}, "queue", "is an ARN of s3"),
            ({"queue": "no-such"}, "queue", "SQS has no queue 'no-such'"),
            ({"queue": "no-such", "name": "x.fifo"}, "name", "does not fit queue 'no-such'"),
            ({"queue": "no-such", "concurrency": 0}, "concurrency", "greater than or equal|out of range"),
            ({"queue": ""}, "queue", "required"),
        ],
    )
    def test_what_cannot_be_adopted(self, admin: Client, changes: dict[str, Any], field: str, words: str) -> None:
        answer = admin.post(self.ADOPT, self.form(**changes))

        errors = answer.context["adminform"].form.errors
        assert re.search(words, html.unescape(str(errors[field]))), errors
        assert services.list_queues() == []

    def test_adopting_twice_is_an_error_of_the_form(self, admin: Client, owner: Owner) -> None:
        adoption.adopt(owner.make("orders"), handler="log", name="theirs")

        answer = admin.post(self.ADOPT, self.form(queue=owner.name("orders"), name="other"))

        assert "is queue &#x27;theirs&#x27; here already" in answer.content.decode()
        assert len(services.list_queues()) == 1

    def test_settings_that_sqs_holds_are_only_shown(self, admin: Client, owner: Owner) -> None:
        queue = adoption.adopt(owner.make("orders"), handler="log")
        before = owner.attributes("orders")
        shown = admin.get(settings_page(queue))
        assert set(shown.context["adminform"].form.fields).isdisjoint({"visibility_timeout", "max_receive_count"})
        assert "read and followed, never written" in shown.content.decode()

        data = {**self.form(concurrency=3), "visibility_timeout": 60, "max_receive_count": 2}
        assert admin.post(settings_page(queue), data).status_code == 302

        changed = services.get(queue.name)
        assert (changed.concurrency, changed.visibility_timeout, changed.max_receive_count) == (3, 300, 10)
        assert owner.attributes("orders") == before

    def test_deleting_says_that_the_queue_stays(self, admin: Client, owner: Owner) -> None:
        queue = adoption.adopt(owner.make("orders"), handler="log")
        ours = services.create("ours")
        send("ours", ["a"])

        asked = act(admin, "delete", queue)
        assert "it stays in SQS with its messages" in asked
        assert "Nothing is deleted in SQS." in asked
        both = act(admin, "delete", queue, ours)
        assert "it stays in SQS with its messages" in both
        assert "Nothing is deleted in SQS." not in both

        assert "forgotten; SQS keeps it" in act(admin, "delete", queue, sure="yes", typed=queue.name)
        assert owner.url("orders")

    def test_queue_that_sqs_has_is_refused_unless_it_is_taken_over(self, admin: Client, owner: Owner) -> None:
        owner.make("orders", dead=None)

        answer = admin.post(ADD, form(concurrency=2))
        assert "or take it over with new attributes" in answer.content.decode()
        assert answer.context["adminform"].form["concurrency"].value() == "2"  # what was typed is kept
        assert services.list_queues() == []

        admin.post(ADD, form(take_over="on"))
        assert services.get("orders").managed
        assert owner.attributes("orders")["VisibilityTimeout"] == "30"

    def test_vanished_queue_is_shown(self, admin: Client, owner: Owner) -> None:
        queue = adoption.adopt(owner.make("orders"), handler="log")
        owner.delete("orders")
        sync()

        assert "SQS does not have the queue any more" in admin.get(page(queue)).content.decode()
        found = admin.get(LIST, {"health": "vanished"})
        assert [row["queue"].name for row in rows(found)] == [queue.name]
        assert "not in SQS any more" in admin.get(reverse("admin:index")).content.decode()

    def test_who_may_adopt(self, client: Client, owner: Owner) -> None:
        url = owner.make("orders")
        for group, status in (("viewers", 403), ("operators", 403), ("administrators", 200)):
            who = User.objects.create_user(group, is_staff=True)
            who.groups.add(Group.objects.get(name=group))
            client.force_login(who)
            assert client.get(self.ADOPT).status_code == status
            assert client.get(self.DISCOVER).status_code == status
            if status == 403:
                assert client.post(self.ADOPT, self.form(queue=url)).status_code == 403
        assert services.list_queues() == []
