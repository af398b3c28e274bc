"""Queues and what is done to them, by the API."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobs import ranking
from jobs.admin.queues.columns import QUEUES
from jobs.models import EndReason
from jobs.repositories import jobs, throughput
from jobs.repositories.jobs import Counts
from queues import services, tripping
from queues.sqs import get_gateway
from queuesite.foundation.config import get_config
from queuesite.foundation.databases import database_clock
from queuesite.models import BackgroundTask, TaskState
from tests.conftest import Configure
from tests.support import records
from tests.support.adopted import Owner
from tests.support.api import Api, everything, run_tasks
from tests.support.faults import SqsProxy
from tests.support.mongo_queries import counted

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]


@pytest.fixture
def api() -> Api:
    return everything()


def test_create_read_change_delete(api: Api) -> None:
    made = api.post("/queues", {"name": "orders", "concurrency": 3, "handlerOptions": {}})
    assert made.status == 201
    assert made.headers["Location"] == "/api/v1/queues/orders"
    assert made.json["concurrency"] == 3
    assert made.json["dlqUrl"]
    assert made.json["assignments"] == []
    assert made.json["lastJob"] is None
    assert made.json["createdAt"].endswith("Z")
    assert api.get("/queues/orders").ok() == made.json

    changed = api.patch("/queues/orders", {"priority": 7, "paused": True}).ok()
    assert (changed["priority"], changed["paused"], changed["concurrency"]) == (7, True, 3)
    assert services.get("orders").priority == 7

    gone = api.delete("/queues/orders")
    assert (gone.status, gone.text) == (204, "")
    api.get("/queues/orders").problem(404)


def test_a_change_is_one_read_and_one_write_whatever_it_changes(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()
    services.set_paused("orders", True)

    with counted() as operations:
        changed = api.patch("/queues/orders", {"priority": 7, "maxConsumers": 3, "paused": False}).ok()

    assert sorted(one for one in operations if one.endswith(" queues")) == ["command queues", "query queues"]
    assert (changed["priority"], changed["maxConsumers"], changed["paused"]) == (7, 3, False)
    assert changed["wakeRequestedAt"] is not None
    assert changed == api.get("/queues/orders").ok()


def test_only_resuming_wakes(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()

    assert api.patch("/queues/orders", {"concurrency": 2}).ok()["wakeRequestedAt"] is None
    assert api.patch("/queues/orders", {"paused": True}).ok()["wakeRequestedAt"] is None
    assert api.patch("/queues/orders", {"paused": True, "priority": 1}).ok()["wakeRequestedAt"] is None
    assert api.patch("/queues/orders", {"paused": False, "priority": 2}).ok()["wakeRequestedAt"] is not None


def test_names_that_are_taken(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()

    answer = api.post("/queues", {"name": "orders"})

    problem = answer.problem(409)
    assert problem["existing"] == answer.headers["Location"] == "/api/v1/queues/orders"
    assert "exists already" in problem["detail"]


def test_without_dead_letter_queue(api: Api) -> None:
    assert api.post("/queues", {"name": "orders", "withDlq": False}).ok()["dlqUrl"] is None
    problem = api.post("/queues/orders/dead-letters/redrive").problem(422)
    assert "no dead-letter queue" in problem["detail"]
    api.post("/queues/orders/dead-letters/peek").problem(422)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "name", "required"),
        ({"name": "a b"}, "name", "pattern"),
        ({"name": "x" * 81}, "name", "should have at most"),
        ({"name": "ok", "priority": 12}, "priority", "9"),
        ({"name": "ok", "priority": "3"}, "priority", "integer"),
        ({"name": "ok", "priority": True}, "priority", "integer"),
        ({"name": "ok", "maxConsumers": 0}, "maxConsumers", "1"),
        ({"name": "ok", "visibilityTimeout": 43_201}, "visibilityTimeout", "43200"),
        ({"name": "ok", "handler": "two\nlines"}, "handler", "expected 1 to 100 printable characters"),
        ({"name": "ok", "pool": "g p u"}, "pool", "pattern"),
        ({"name": "ok", "handlerOptions": {"x": 1}}, "handlerOptions", "takes no options"),
        (
            {"name": "ok", "handler": "simulate", "handlerOptions": {"min_seconds": -1}},
            "handlerOptions.min_seconds",
            "greater than or equal to 0",
        ),
        ({"name": "ok", "colour": "red"}, "colour", "not permitted"),
        ({"name": "ok", "highThroughput": False}, "highThroughput", "only for FIFO queues"),
        ({"name": "ok.fifo", "highThroughput": "yes"}, "highThroughput", "boolean"),
        ([], "body", "dictionary"),
    ],
)
def test_wrong_values_are_named(api: Api, body: Any, field: str, words: str) -> None:
    problem = api.post("/queues", body).problem(422)

    (error,) = problem["errors"]
    assert error["field"] == field
    assert words in error["message"]
    assert services.list_queues() == []


def test_name_that_is_too_long_with_its_prefix(api: Api, configure: Configure) -> None:
    configure(queue_name_prefix="t" * 40)

    assert "and at most 80 are allowed" in api.post("/queues", {"name": "x" * 40}).problem(422)["detail"]


def test_change_checks_everything_before_it_changes_anything(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()

    api.patch("/queues/orders", {"priority": 3, "handler": "http"}).problem(422)

    assert services.get("orders").priority == 0


def test_handler_that_nobody_knows_is_taken_with_a_warning(api: Api) -> None:
    made = api.post("/queues", {"name": "orders", "handler": "resize", "handlerOptions": {"width": 0}}).ok()
    assert made["warnings"][0].startswith("no live worker announces handler 'resize'")
    assert made["handlerOptions"] == {"width": "********"}
    records.announce(records.RESIZE)
    shown = api.get("/queues/orders").ok()
    assert shown["warnings"] == ["options of handler 'resize': width: expected minimum 1; the workers refuse them"]
    assert "expected minimum 1" in api.patch("/queues/orders", {"handlerOptions": {"width": 0}}).problem(422)["detail"]
    assert api.patch("/queues/orders", {"handlerOptions": {"width": 5}}).ok()["warnings"] == []


def test_pause_resume_notify(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()

    paused = api.post("/queues/orders/pause").ok()
    assert paused == {"name": "orders", "paused": True, "changed": True, "change": paused["change"]}
    again = api.post("/queues/orders/pause").ok()
    assert (again["changed"], again["change"]) == (False, None)
    assert api.get("/queues/orders").ok()["state"] == "paused"
    assert api.post("/queues/orders/resume").ok()["paused"] is False
    assert api.post("/queues/orders/notify").ok() == {"name": "orders", "assigned": False, "assignments": []}

    assignment = records.running(services.get("orders"))
    told = api.post("/queues/orders/notify").ok()
    assert told["assigned"] is True
    (shown,) = told["assignments"]
    assert (shown["worker"], shown["jobId"]) == ("w1", str(assignment.job_id))


def test_a_tripped_queue_says_why_and_until_when_and_can_be_tried_now(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()
    assert api.post("/queues/orders/try-now").ok() == {"name": "orders", "changed": False}
    until = database_clock.now() + timedelta(minutes=1)
    tripping.tripped(services.get("orders").id, 2, "stripe is unavailable", until)

    shown = api.get("/queues/orders").ok()
    assert (shown["state"], shown["tripCount"]) == ("backing-off", 2)
    assert shown["tripReason"] == "stripe is unavailable"
    assert shown["notBefore"] is not None
    assert api.post("/queues/orders/try-now").ok() == {"name": "orders", "changed": True}
    shown = api.get("/queues/orders").ok()
    assert (shown["state"], shown["tripCount"], shown["notBefore"]) == ("waiting", 2, None)
    api.post("/queues/nothing/try-now").problem(404)


def test_queue_shows_assignments_and_its_newest_job(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()
    queue = services.get("orders")
    first = records.running(queue)
    jobs.complete(first.job_id, "w1", Counts(5, 1), EndReason.DRAINED)
    second = records.running(queue, slot=1)

    shown = api.get("/queues/orders").ok()

    assert shown["state"] == "active"
    assert {a["consumer"] for a in shown["assignments"]} == {0, 1}
    assert shown["lastJob"]["id"] == str(second.job_id)
    assert shown["lastJob"]["status"] == "running"


def test_size_asks_sqs_and_is_remembered(api: Api) -> None:
    api.post("/queues", {"name": "orders"}).ok()
    api.post("/queues/orders/messages", {"messages": [{"body": "a"}, {"body": "b"}]}).ok()

    assert api.get("/queues/orders/size").ok() == {
        "name": "orders",
        "visible": 2,
        "inFlight": 0,
        "delayed": 0,
        "deadLetters": 0,
    }

    depth = api.get("/queues/orders").ok()["depth"]
    assert depth["visible"] == 2
    assert depth["observedAt"]
    assert depth["deadLettersObservedAt"]


def test_queue_that_sqs_lost(api: Api, sqs: SQSClient) -> None:
    url = api.post("/queues", {"name": "orders"}).ok()["queueUrl"]
    sqs.delete_queue(QueueUrl=url)

    problem = api.get("/queues/orders/size").problem(409)

    assert problem["type"] == "urn:queuesite:problem:queue-missing"
    assert "sync" in problem["detail"]


class TestList:
    @pytest.fixture(autouse=True)
    def some(self, mongo: None) -> None:
        records.define("orders", priority=5, handler="log")
        records.define("order-mails", priority=1, handler="http", paused=True)
        records.define("invoices", priority=5, handler="log", depth_visible=9)

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("", ["invoices", "order-mails", "orders"]),
            ("?sort=-name", ["orders", "order-mails", "invoices"]),
            ("?paused=true", ["order-mails"]),
            ("?paused=false&sort=-visible", ["invoices", "orders"]),
            ("?handler=http", ["order-mails"]),
            ("?prefix=order", ["order-mails", "orders"]),
            ("?prefix=.rders", []),
            ("?handler=log&prefix=o", ["orders"]),
        ],
    )
    def test_filters_and_order(self, api: Api, query: str, names: list[str]) -> None:
        assert [queue["name"] for queue in api.get(f"/queues{query}").ok()["items"]] == names

    @pytest.mark.parametrize("sort", [*ranking.ALL_SORTS, *(f"-{name}" for name in ranking.ALL_SORTS)])
    def test_pages_cover_everything_once(self, api: Api, sort: str) -> None:
        for number in range(8):
            records.define(f"more-{number}", priority=number % 3)
        whole = [queue["name"] for queue in api.get(f"/queues?sort={sort}").ok()["items"]]

        paged: list[str] = []
        cursor = ""
        while True:
            page = api.get(f"/queues?sort={sort}&limit=3{cursor}").ok()
            paged += [queue["name"] for queue in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"

        assert paged == whole
        assert len(set(whole)) == 11

    def test_they_are_sorted_by_what_the_admin_s_columns_are(self, api: Api) -> None:
        now = database_clock.now()
        minute = now.replace(second=0, microsecond=0) - timedelta(minutes=1)
        busy = records.define("busy", depth_visible=2, visible_since=now - timedelta(hours=1))
        throughput.add([throughput.Row(busy.id, "busy", minute, processed=90, failed=5, retried=5, durations=[100])])
        for sort in ("-rate", "-failed", "-p95", "-age"):
            first = api.get(f"/queues?sort={sort}&limit=1").ok()["items"][0]
            assert first["name"] == "busy", sort
        assert (first["rate"], first["failedShare"]) == (18.0, 0.05)
        assert first["p95"] > 0
        assert {column.sort for column in QUEUES.columns if column.sort} <= set(ranking.ALL_SORTS)

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=x", "limit"),
            ("sort=colour", "sort"),
            ("paused=perhaps", "paused"),
            ("cursor=x", "cursor"),
            ("cursor=WzEsMl0", "cursor"),
            ("prefix=.*", "prefix"),
            ("prefix=%00", "prefix"),
            ("colour=red", "colour"),
        ],
    )
    def test_wrong_parameters_are_named(self, api: Api, query: str, field: str) -> None:
        (error,) = api.get(f"/queues?{query}").problem(422)["errors"]

        assert error["field"] == field


class TestPurge:
    def test_one(self, api: Api) -> None:
        api.post("/queues", {"name": "orders"}).ok()
        api.post("/queues/orders/messages", {"messages": [{"body": "a"}]}).ok()

        assert api.post("/queues/orders/purge").ok() == {"name": "orders", "purged": True}
        assert api.get("/queues/orders/size").ok()["visible"] == 0

    def test_too_soon(self, api: Api, faulty: SqsProxy) -> None:
        api.post("/queues", {"name": "orders"}).ok()
        faulty.refuse("PurgeQueue", "AWS.SimpleQueueService.PurgeQueueInProgress")

        assert "60 s" in api.post("/queues/orders/purge").problem(409)["detail"]

    def test_many_in_the_background(self, api: Api) -> None:
        for name in ("orders", "invoices"):
            api.post("/queues", {"name": name}).ok()
            api.post(f"/queues/{name}/messages", {"messages": [{"body": "a"}]}).ok()

        answer = api.post("/purge", {"queues": ["orders", "invoices", "orders"]})
        assert answer.status == 202
        assert answer.json["state"] == "queued"
        assert answer.headers["Location"] == f"/api/v1/tasks/{answer.json['id']}"
        assert run_tasks() == 1

        task = api.get(answer.headers["Location"]).ok()
        assert (task["state"], task["done"], task["total"]) == ("completed", 2, 2)
        assert task["result"] == {"purged": ["orders", "invoices"], "failed": {}}
        assert [api.get(f"/queues/{n}/size").ok()["visible"] for n in ("orders", "invoices")] == [0, 0]

    def test_one_that_cannot_be_purged_does_not_stop_the_others(self, api: Api, faulty: SqsProxy) -> None:
        for name in ("orders", "invoices"):
            api.post("/queues", {"name": name}).ok()
        faulty.refuse("PurgeQueue", "AWS.SimpleQueueService.PurgeQueueInProgress", times=1)

        task = api.post("/purge", {"queues": ["orders", "invoices"]}).ok()
        run_tasks()

        result = api.get(f"/tasks/{task['id']}").ok()["result"]
        assert result["purged"] == ["invoices"]
        assert "60 s" in result["failed"]["orders"]

    def test_none_of_them_where_one_is_missing(self, api: Api) -> None:
        api.post("/queues", {"name": "orders"}).ok()

        assert "'nope'" in api.post("/purge", {"queues": ["orders", "nope"]}).problem(404)["detail"]
        assert run_tasks() == 0


class TestTasks:
    def test_sync(self, api: Api, sqs: SQSClient) -> None:
        url = api.post("/queues", {"name": "orders"}).ok()["queueUrl"]
        sqs.delete_queue(QueueUrl=url)

        task = api.post("/sync").ok()
        run_tasks()

        result = api.get(f"/tasks/{task['id']}").ok()["result"]
        assert result["created"] == ["orders"]
        assert get_gateway().queue_url(services.sqs_name("orders"))

    def test_failure_is_told(self, api: Api, faulty: SqsProxy) -> None:
        api.post("/queues", {"name": "orders"}).ok()
        task = api.post("/queues/orders/dead-letters/redrive").ok()
        faulty.cut("GetQueueAttributes")
        run_tasks()

        shown = api.get(f"/tasks/{task['id']}").ok()

        assert shown["state"] == "failed"
        assert "does not answer" in shown["error"]
        assert shown["endedAt"]

    def test_fault_of_ours_says_no_more_than_that(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        api.post("/queues", {"name": "orders"}).ok()
        task = api.post("/sync").ok()
        monkeypatch.setattr("queues.tasks.sync", lambda *_: 1 / 0)
        run_tasks()

        shown = api.get(f"/tasks/{task['id']}").ok()

        assert (shown["state"], shown["error"]) == (
            "failed",
            "Queuesite failed (ZeroDivisionError) and has logged the error",
        )

    def test_one_sees_one_s_own(self, api: Api) -> None:
        from queuesite import tokens
        from tests.support.api import user

        mine = Api(tokens.make(user("ada", ["queues.change_queue"]))[1])
        other = Api(tokens.make(user("bob", ["queues.change_queue"]))[1])
        task = mine.post("/sync").ok()

        assert mine.get(f"/tasks/{task['id']}").ok()["owner"] == "ada"
        assert [t["id"] for t in mine.get("/tasks").ok()["items"]] == [task["id"]]
        other.get(f"/tasks/{task['id']}").problem(404)
        assert other.get("/tasks").ok()["items"] == []
        assert api.get(f"/tasks/{task['id']}").ok()["owner"] == "ada"  # a superuser sees all

    def test_task_that_has_ended_is_not_run_again(self, api: Api) -> None:
        from queues import tasks

        task = api.post("/sync").ok()
        run_tasks()
        ended = BackgroundTask.objects.get().ended_at

        tasks.run_sync(task["id"])

        assert BackgroundTask.objects.get().ended_at == ended

    def test_old_tasks_are_forgotten(self, api: Api) -> None:
        api.post("/sync").ok()
        run_tasks()
        row = BackgroundTask.objects.get()
        assert row.ended_at is not None
        row.ended_at -= timedelta(days=8)
        row.save()

        api.post("/sync").ok()

        assert [task.state for task in BackgroundTask.objects.all()] == [TaskState.QUEUED]


def test_handlers_have_the_schema_of_their_options(api: Api) -> None:
    found = {handler["name"]: handler for handler in api.get("/handlers").ok()["items"]}

    assert found["log"]["options"] is None
    assert "url" in found["http"]["options"]["properties"]
    assert found["http"]["summary"]


def test_dead_letters_are_counted_each_minute(api: Api) -> None:
    from queues.sqs import OutgoingMessage
    from queues.tasks import observe_dead_letters

    api.post("/queues", {"name": "orders"}).ok()
    api.post("/queues", {"name": "without", "withDlq": False}).ok()
    get_gateway().send(str(services.get("orders").dlq_url), [OutgoingMessage("dead")])

    assert observe_dead_letters() == 1

    assert api.get("/queues/orders").ok()["depth"]["deadLetters"] == 1


class TestQueuesOfOthers:
    @pytest.fixture
    def owner(self, queues: SQSClient) -> Owner:
        return Owner(queues, get_config().queue_name_prefix)

    def test_adopt_read_change_delete(self, api: Api, owner: Owner) -> None:
        owner.make("orders")
        before = owner.attributes("orders")

        made = api.post("/adopt", {"queue": owner.arn("orders"), "name": "theirs", "handler": "log", "concurrency": 2})

        assert made.status == 201, made.text
        assert made.headers["Location"] == "/api/v1/queues/theirs"
        assert (made.json["managed"], made.json["concurrency"]) == (False, 2)
        assert (made.json["queueArn"], made.json["vanishedAt"]) == (owner.arn("orders"), None)
        assert (made.json["visibilityTimeout"], made.json["maxReceiveCount"]) == (300, 10)
        assert (made.json["retentionSeconds"], made.json["maxMessageBytes"]) == (86_400, 2_048)

        assert api.patch("/queues/theirs", {"concurrency": 3, "visibilityTimeout": 300}).ok()["concurrency"] == 3
        for wrong in ({"visibilityTimeout": 60}, {"maxReceiveCount": 3, "concurrency": 4}):
            problem = api.patch("/queues/theirs", wrong).problem(422)
            assert f"belongs to the owner of {owner.arn('orders')}" in problem["detail"]
            assert problem["errors"][0]["field"] == next(iter(wrong))
        assert services.get("theirs").concurrency == 3

        assert api.delete("/queues/theirs").status == 204
        assert owner.attributes("orders") == before

    @pytest.mark.parametrize(
        ("body", "status", "words"),
        [
            ({"queue": "no-such", "handler": "log"}, 404, "SQS has no queue 'no-such'"),
            ({"queue": "arn:aws:s3:::x", "handler": "log"}, 422, "is an ARN of s3"),
            ({"queue": "no-such"}, 422, "required"),
            ({"queue": "no-such", "handler": "log", "visibilityTimeout": 5}, 422, "not permitted"),
        ],
    )
    def test_wrong_values(self, api: Api, body: Any, status: int, words: str) -> None:
        assert words in api.post("/adopt", body).problem(status).__repr__()
        assert services.list_queues() == []

    def test_what_is_taken(self, api: Api, owner: Owner) -> None:
        owner.make("orders")
        api.post("/adopt", {"queue": owner.name("orders"), "name": "theirs", "handler": "log"}).ok()

        answer = api.post("/adopt", {"queue": owner.name("orders"), "handler": "log"})
        assert answer.problem(409)["existing"] == answer.headers["Location"] == "/api/v1/queues/theirs"

        services.create("ours")
        dead = {"queue": services.sqs_name("ours-dlq"), "handler": "log"}
        assert "is the dead-letter queue of 'ours'" in api.post("/adopt", dead).problem(409)["detail"]

    def test_what_may_not_be_read_names_the_remedy(self, api: Api, owner: Owner, faulty: SqsProxy) -> None:
        owner.make("orders")
        faulty.refuse("GetQueueAttributes", "AccessDenied", "arn:aws:iam::1:user/secret", status=403)

        problem = api.post("/adopt", {"queue": owner.name("orders"), "handler": "log"}).problem(502)

        assert "allow sqs:GetQueueUrl and sqs:GetQueueAttributes on both" in problem["detail"]
        assert "iam" not in problem["detail"]

    def test_create_of_what_sqs_has(self, api: Api, owner: Owner) -> None:
        owner.make("orders", dead=None)

        assert "sqs adopt" in api.post("/queues", {"name": "orders"}).problem(409)["detail"]
        assert api.post("/queues", {"name": "orders", "takeOver": True}).status == 201

    def test_discover(self, api: Api, owner: Owner) -> None:
        url = owner.make("orders.fifo", dead=None)
        prefix = get_config().queue_name_prefix

        assert api.get(f"/discover?prefix={prefix}").ok() == {
            "items": [{"name": owner.name("orders.fifo"), "queueUrl": url, "fifo": True}]
        }
        api.get("/discover?region=moon").problem(422)
