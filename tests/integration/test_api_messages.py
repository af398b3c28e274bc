"""Messages by the API: send, look, redrive, and requests that are repeated."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from queues import services
from queues.sqs import OutgoingMessage, get_gateway
from queuesite.models import BackgroundTask, IdempotentRequest
from tests.support.api import Api, everything, run_tasks
from tests.support.faults import Refused, SqsProxy

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queues")]

MESSAGES = "/queues/orders/messages"


@pytest.fixture
def api() -> Api:
    return everything()


@pytest.fixture(autouse=True)
def orders(queues: SQSClient) -> None:
    services.create("orders")


def count(name: str = "orders") -> int:
    return services.size(name).depth.visible


def bodies(*texts: Any) -> dict[str, Any]:
    return {"messages": [{"body": text} for text in texts]}


class TestSend:
    def test_one(self, api: Api, sqs: SQSClient) -> None:
        answer = api.post(MESSAGES, bodies("hello"))

        assert answer.status == 200
        assert (answer.json["sent"], answer.json["failed"]) == (1, 0)
        (result,) = answer.json["results"]
        (received,) = sqs.receive_message(QueueUrl=services.get("orders").queue_url)["Messages"]
        assert received["MessageId"] == result["messageId"]
        assert (received["Body"], result["index"], result["error"]) == ("hello", 0, None)
        assert services.get("orders").wake_pending

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("é\n日本", "é\n日本"),
            ({"a": [1, "é"]}, '{"a": [1, "é"]}'),
            (5, "5"),
            (None, "null"),
            ([], "[]"),
            (False, "false"),
        ],
    )
    def test_body_is_text_or_json(self, api: Api, body: Any, text: str) -> None:
        api.post(MESSAGES, bodies(body)).ok()

        assert api.post(f"{MESSAGES}/peek").ok()["items"][0]["body"] == text

    def test_attributes_come_back(self, api: Api) -> None:
        binary = base64.b64encode(b"\x00\xff").decode()
        attributes = {
            "colour": "blue",
            "size": 5,
            "weight": 1.5,
            "typed": {"dataType": "Number.int", "stringValue": "7"},
            "raw": {"dataType": "Binary", "binaryValue": binary},
        }
        api.post(MESSAGES, {"messages": [{"body": "x", "attributes": attributes}]}).ok()

        (message,) = api.post(f"{MESSAGES}/peek").ok()["items"]

        shown = {name: (v["dataType"], v["stringValue"], v["binaryValue"]) for name, v in message["attributes"].items()}
        assert shown == {
            "colour": ("String", "blue", None),
            "size": ("Number", "5", None),
            "weight": ("Number", "1.5", None),
            "typed": ("Number.int", "7", None),
            "raw": ("Binary", None, binary),
        }

    def test_thousand_at_once(self, api: Api) -> None:
        answer = api.post(MESSAGES, bodies(*range(1_000))).ok()

        assert answer["sent"] == 1_000
        assert [result["index"] for result in answer["results"]] == list(range(1_000))
        assert len({result["messageId"] for result in answer["results"]}) == 1_000
        assert count() == 1_000

    @pytest.mark.parametrize(
        ("message", "field", "words"),
        [
            ({}, "messages.1.body", "required"),
            ({"body": ""}, "messages.1.body", "empty"),
            ({"body": "a\u0000"}, "messages.1.body", "U+0000"),
            ({"body": "\ud800"}, "messages.1.body", "U+D800"),
            ({"body": "x" * 1_048_577}, "messages.1.body", "1,048,577"),
            ({"body": "x", "delay": 901}, "messages.1.delay", "900"),
            ({"body": "x", "delay": "5"}, "messages.1.delay", "integer"),
            ({"body": "x", "group": "a b"}, "messages.1.group", "pattern"),
            ({"body": "x", "deduplicationId": "d"}, "messages.1.deduplicationId", "not a FIFO queue"),
            ({"body": "x", "colour": "red"}, "messages.1.colour", "not permitted"),
            ({"body": "x", "attributes": {f"a{n}": "x" for n in range(11)}}, "messages.1.attributes", "10"),
            ({"body": "x", "attributes": {"AWS.x": "x"}}, "messages.1.attributes", "AWS."),
            (
                {"body": "x", "attributes": {"n": {"dataType": "Number", "stringValue": "x"}}},
                "messages.1.attributes",
                "number",
            ),
            (
                {"body": "x", "attributes": {"n": {"dataType": "Binary", "binaryValue": "%"}}},
                "messages.1.attributes.n.binaryValue",
                "base64",
            ),
            (
                {"body": "x", "attributes": {"n": {"dataType": "Binary", "stringValue": "x"}}},
                "messages.1.attributes.n",
                "not both",
            ),
            ({"body": "x", "attributes": {"n": True}}, "messages.1.attributes.n", "a text, a number, or an object"),
            ({"body": "x", "attributes": {"n": ""}}, "messages.1.attributes.n", "at least 1"),
            ({"body": "x", "attributes": {"n": "\u0001"}}, "messages.1.attributes", "U+0001"),
        ],
    )
    def test_nothing_is_sent_where_one_is_wrong(self, api: Api, message: Any, field: str, words: str) -> None:
        problem = api.post(MESSAGES, {"messages": [{"body": "fine"}, message]}).problem(422)

        (error,) = problem["errors"]
        assert error["field"] == field
        assert words in error["message"]
        assert count() == 0

    def test_every_wrong_message_is_named(self, api: Api) -> None:
        problem = api.post(MESSAGES, bodies("", "fine", "\u0000")).problem(422)

        assert [error["field"] for error in problem["errors"]] == ["messages.0.body", "messages.2.body"]

    def test_limits_of_a_request(self, api: Api) -> None:
        assert "1000" in api.post(MESSAGES, bodies(*range(1_001))).problem(422)["errors"][0]["message"]
        api.post(MESSAGES, {"messages": []}).problem(422)
        assert count() == 0

    def test_some_that_sqs_refuses(self, api: Api, faulty: SqsProxy) -> None:
        def half(parameters: dict[str, Any], forward: Any) -> dict[str, Any]:
            entries = parameters["Entries"]
            taken: dict[str, Any] = forward({**parameters, "Entries": entries[:1]})
            refused = [{"Id": e["Id"], "Code": "Made.Up", "Message": "no", "SenderFault": True} for e in entries[1:]]
            return {**taken, "Failed": refused}

        faulty.answer("SendMessageBatch", half)

        answer = api.post(MESSAGES, bodies("a", "b"))

        assert answer.status == 207
        assert (answer.json["sent"], answer.json["failed"]) == (1, 1)
        assert answer.json["results"][0]["messageId"]
        assert answer.json["results"][1] == {"index": 1, "messageId": None, "error": "Made.Up: no"}

    def test_outage_in_the_middle_tells_what_was_sent(self, api: Api, faulty: SqsProxy) -> None:
        def second_fails(parameters: dict[str, Any], forward: Any) -> dict[str, Any]:
            if parameters["Entries"][0]["MessageBody"] == "10":
                raise Refused("InternalError", status=500)
            answer: dict[str, Any] = forward(parameters)
            return answer

        faulty.answer("SendMessageBatch", second_fails)

        answer = api.post(MESSAGES, bodies(*range(20)))

        assert answer.status == 207
        assert (answer.json["sent"], answer.json["failed"]) == (10, 10)
        assert "overloaded" in answer.json["results"][19]["error"]

    def test_outage(self, api: Api, faulty: SqsProxy) -> None:
        faulty.cut("SendMessageBatch")

        problem = api.post(MESSAGES, bodies("a"), Idempotency_Key="k").problem(503)

        assert problem["type"] == "urn:queuesite:problem:unavailable"
        assert IdempotentRequest.objects.count() == 0  # so that it may be repeated

    def test_fifo(self, api: Api) -> None:
        services.create("orders.fifo")
        path = "/queues/orders.fifo/messages"
        assert "needs a message group" in api.post(path, bodies("a")).problem(422)["detail"]
        assert (
            "no delay" in api.post(path, {"messages": [{"body": "a", "group": "g", "delay": 5}]}).problem(422)["detail"]
        )

        api.post(path, {"messages": [{"body": "a", "group": "g"}, {"body": "a", "group": "g"}]}).ok()

        assert count("orders.fifo") == 2
        assert [m["group"] for m in api.post(f"{path}/peek").ok()["items"]] == ["g", "g"]


class TestIdempotency:
    def test_same_request_is_answered_again(self, api: Api) -> None:
        first = api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1")
        again = api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1")

        assert again.json == first.json
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert count() == 1

    def test_other_request_with_the_key_is_refused(self, api: Api) -> None:
        services.create("invoices")
        api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1").ok()

        assert "another request" in api.post(MESSAGES, bodies("b"), Idempotency_Key="key-1").problem(422)["detail"]
        api.post("/queues/invoices/messages", bodies("a"), Idempotency_Key="key-1").problem(422)
        assert (count(), count("invoices")) == (1, 0)

    def test_keys_are_the_user_s_own(self, api: Api) -> None:
        api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1").ok()
        everything("other").post(MESSAGES, bodies("b"), Idempotency_Key="key-1").ok()

        assert count() == 2

    def test_key_is_free_again_after_a_day(self, api: Api) -> None:
        api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1").ok()
        row = IdempotentRequest.objects.get()
        row.created_at -= timedelta(hours=24, seconds=1)
        row.save()

        api.post(MESSAGES, bodies("b"), Idempotency_Key="key-1").ok()

        assert count() == 2

    def test_request_without_an_answer_is_not_done_again(self, api: Api) -> None:
        api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1").ok()
        IdempotentRequest.objects.update(status=None)  # as where its process died, or is at it

        assert "under way" in api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1").problem(409)["detail"]
        assert count() == 1

    def test_wrong_request_does_not_use_its_key_up(self, api: Api) -> None:
        api.post(MESSAGES, bodies(""), Idempotency_Key="key-1").problem(422)

        api.post(MESSAGES, bodies("a"), Idempotency_Key="key-1").ok()

    @pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\x7f"])
    def test_odd_keys(self, api: Api, key: str) -> None:
        (error,) = api.post(MESSAGES, bodies("a"), Idempotency_Key=key).problem(422)["errors"]

        assert error["field"] == "Idempotency-Key"
        assert count() == 0

    def test_bulk_send_is_started_once(self, api: Api) -> None:
        body = {**bodies("a"), "repeat": 3}
        first = api.post(f"{MESSAGES}/bulk", body, Idempotency_Key="key-1")
        again = api.post(f"{MESSAGES}/bulk", body, Idempotency_Key="key-1")

        assert first.status == again.status == 202
        assert again.headers["Location"] == f"/api/v1/tasks/{first.json['id']}"
        assert again.json["id"] == first.json["id"]
        assert run_tasks() == 1

    def test_fifo_repeats_by_id_even_where_the_answer_is_lost(self, api: Api) -> None:
        services.create("orders.fifo")
        body = {"messages": [{"body": "a", "group": "g"}]}
        api.post("/queues/orders.fifo/messages", body, Idempotency_Key="key-1").ok()
        IdempotentRequest.objects.all().delete()

        api.post("/queues/orders.fifo/messages", body, Idempotency_Key="key-1").ok()

        assert count("orders.fifo") == 1


class TestBulk:
    def test_rounds(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("queues.tasks.CHUNK", 7)
        binary = {"raw": {"dataType": "Binary", "binaryValue": "AP8="}}
        body = {"messages": [{"body": {"n": 1}}, {"body": "two", "attributes": binary}], "repeat": 10}
        answer = api.post(f"{MESSAGES}/bulk", body)
        assert answer.status == 202
        assert answer.json["total"] == 20
        run_tasks()

        task = api.get(f"/tasks/{answer.json['id']}").ok()

        assert (task["state"], task["done"]) == ("completed", 20)
        assert task["result"] == {"queue": "orders", "sent": 20, "failed": 0, "errors": {}}
        assert count() == 20
        assert BackgroundTask.objects.get().arguments == {}

    def test_goes_on_where_it_was(self, api: Api) -> None:
        task = api.post(f"{MESSAGES}/bulk", {**bodies("a"), "repeat": 10}).ok()
        BackgroundTask.objects.update(done=6, state="running")  # its process died, and it is given out again
        run_tasks()

        assert api.get(f"/tasks/{task['id']}").ok()["done"] == 10
        assert count() == 4

    def test_too_many(self, api: Api) -> None:
        problem = api.post(f"{MESSAGES}/bulk", {**bodies("a", "b"), "repeat": 500_001}).problem(422)

        assert "1,000,002" in problem["detail"]
        assert run_tasks() == 0


class TestPeek:
    def test_messages_stay(self, api: Api) -> None:
        api.post(MESSAGES, {"messages": [{"body": {"n": n}} for n in range(3)]}).ok()

        first = api.post(f"{MESSAGES}/peek").ok()["items"]
        again = api.post(f"{MESSAGES}/peek").ok()["items"]

        assert sorted(m["body"] for m in first) == ['{"n": 0}', '{"n": 1}', '{"n": 2}']
        assert {m["messageId"] for m in again} == {m["messageId"] for m in first}
        assert all(m["receiveCount"] == 2 for m in again)
        assert all(m["sentAt"].endswith("Z") for m in again)
        assert services.size("orders").depth.in_flight == 0

    def test_limit(self, api: Api) -> None:
        api.post(MESSAGES, bodies("a", "b", "c")).ok()

        assert len(api.post(f"{MESSAGES}/peek?limit=2").ok()["items"]) == 2
        api.post(f"{MESSAGES}/peek?limit=11").problem(422)
        assert count() == 3

    def test_empty_queue(self, api: Api) -> None:
        assert api.post(f"{MESSAGES}/peek").ok() == {"items": [], "warning": None}

    def test_dead_letters_with_reasons_and_redrive(self, api: Api) -> None:
        dlq = str(services.get("orders").dlq_url)
        reason = {"QueuesiteRejectReason": {"DataType": "String", "StringValue": "no such customer"}}
        get_gateway().send(dlq, [OutgoingMessage("rejected", reason), OutgoingMessage("worn out")])

        found = {m["body"]: m for m in api.post("/queues/orders/dead-letters/peek").ok()["items"]}
        assert (found["rejected"]["reason"], found["rejected"]["rejected"]) == ("no such customer", True)
        assert found["rejected"]["attributes"] == {}
        assert "maxReceiveCount" in found["worn out"]["reason"]
        assert found["worn out"]["rejected"] is False

        answer = api.post("/queues/orders/dead-letters/redrive")
        assert answer.status == 202
        run_tasks()
        task = api.get(answer.headers["Location"]).ok()
        assert (task["state"], task["done"], task["result"]) == ("completed", 2, {"queue": "orders", "moved": 2})
        assert count() == 2
        assert api.post("/queues/orders/dead-letters/peek").ok()["items"] == []


def test_documented_examples_are_taken(api: Api) -> None:
    from queues.api.message_schemas import BulkIn, MessagesIn
    from queues.api.schemas import QueueIn, QueuePatch

    for model in (QueueIn, QueuePatch, MessagesIn, BulkIn):
        examples = model.model_json_schema()["examples"]
        assert examples
        for example in examples:
            model.model_validate_json(json.dumps(example))
