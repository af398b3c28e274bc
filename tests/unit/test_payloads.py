"""Typed payloads: what a handler is called with, what is rejected and why, and what is refused at import."""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from typing_extensions import TypedDict

from queues.handlers import Message, Reject, Retry, Unavailable, handler, registry
from queues.handlers.payloads import NOTHING, WrongPayload
from queues.handlers.registry import HandlerError
from queuesite.foundation.errors import InvalidInput
from tests.support.bodies import S3_TEST_EVENT, s3_event
from tests.support.memory_sqs import MemoryRun, OneQueue


class Order(BaseModel):
    number: int
    placed: date | None = None


class Refund(BaseModel):
    kind: Literal["refund"]
    number: int


class Purchase(BaseModel):
    kind: Literal["purchase"]
    number: int


@dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    name: str


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    day: date = Field(alias="theDay")


class Picky(BaseModel):
    colour: str

    @field_validator("colour")
    @classmethod
    def _known(cls, value: str) -> str:
        raise ValueError("no such colour")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of this test's own."""
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(registry, "_discovered", True)


class Calls:
    """Registers a handler that notes what it is called with."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []
        self.messages: list[Message] = []

    def handle(self, body: object, **declared: Any) -> Any:
        def function(payload: Any, message: Message) -> None:
            self.payloads.append(payload)
            self.messages.append(message)

        handler("orders", **declared)(function)
        return call(body)


def call(body: object) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return registry.get("orders").call(Message("1", text, "shop"))


@pytest.fixture
def calls() -> Calls:
    return Calls()


Either = Annotated[Refund | Purchase, Field(discriminator="kind")]


class TestTypes:
    @pytest.mark.parametrize(
        ("payload", "body", "expected"),
        [
            (Order, {"number": 1, "placed": "2026-11-26"}, Order(number=1, placed=date(2026, 11, 26))),
            (Point, {"x": 1}, Point(1)),
            (Row, {"name": "a"}, {"name": "a"}),
            (list[Order], [{"number": 1}, {"number": 2}], [Order(number=1), Order(number=2)]),
            (Either, {"kind": "refund", "number": 1}, Refund(kind="refund", number=1)),
            (Strict, {"theDay": "2026-11-26"}, Strict(theDay=date(2026, 11, 26))),
            (dict[str, int], {"a": 1}, {"a": 1}),
            (int, "7", 7),
            (Any, [1, "a"], [1, "a"]),
            (None, "null", None),
            (str, "the text itself", "the text itself"),
            (Annotated[str, StringConstraints(min_length=2)], "ab", "ab"),
        ],
    )
    def test_body_becomes_the_type(self, payload: Any, body: object, expected: object, calls: Calls) -> None:
        assert calls.handle(body, payload=payload) is None
        assert calls.payloads == [expected]
        assert calls.messages[0].queue == "shop"

    @pytest.mark.parametrize(
        ("payload", "body", "reason"),
        [
            (Order, {"number": "4111-1111"}, "does not fit Order: number: Input should be a valid integer, unable to"),
            (Order, {}, "number: Field required"),
            (Order, "4111-1111", "Invalid JSON: .* at line 1 column"),
            (Order, "[4111]", "Input should be an object"),
            (list[Order], [{"number": 1}, {"number": "4111"}, {"number": "x"}], r"2\.number: Input should"),
            (Either, {"kind": "4111", "number": 1}, "'kind' is none of 'refund', 'purchase'"),
            (Strict, {"theDay": "2026-11-26", "more": 4111}, "more: Extra inputs are not permitted"),
            (Picky, {"colour": "4111"}, "colour: no such colour"),
            (list[int], ["4111x"] * 7, r"4: Input [^;]*; and 2 more$"),
            (Annotated[str, StringConstraints(max_length=2)], "4111", "should have at most 2 characters"),
        ],
    )
    def test_body_that_does_not_fit_is_rejected_with_its_path(
        self, payload: Any, body: object, reason: str, calls: Calls
    ) -> None:
        answer = calls.handle(body, payload=payload)

        assert isinstance(answer, WrongPayload)
        assert re.search(reason, answer.reason), answer.reason
        assert "4111" not in answer.reason
        assert calls.payloads == []

    def test_handler_without_payload_is_called_as_it_is(self) -> None:
        def function(message: Message) -> None: ...

        handler("orders")(function)

        assert registry.get("orders").call is function

    def test_fault_in_a_validator_is_a_failure_and_no_rejection(self) -> None:
        class Faulty(BaseModel):
            number: int

            @field_validator("number")
            @classmethod
            def _broken(cls, value: int) -> int:
                raise KeyError("a fault of the code")

        handler("orders", payload=Faulty)(lambda payload: None)

        with pytest.raises(KeyError):
            call({"number": 1})


class TestHowItIsCalled:
    @pytest.mark.parametrize(
        ("function", "gets_message"),
        [
            (lambda order: ("only", order), False),
            (lambda order, message: (message, order), True),
            (lambda order, message=None: (message, order), True),
            (lambda order, retries=3: ("only", order), False),
            (lambda order, *, message: (message, order), True),
            (lambda *both: (both[1], both[0]), True),
            (lambda order, **others: ("only", order), False),
        ],
    )
    def test_signature_says_whether_the_message_is_wanted(
        self, function: Callable[..., Any], gets_message: bool
    ) -> None:
        handler("orders", payload=Order)(function)

        first, order = call({"number": 1})

        assert order == Order(number=1)
        assert isinstance(first, Message) is gets_message

    def test_async_handlers(self) -> None:
        seen = []

        @handler("orders", payload=Order)
        async def orders(order: Order) -> str:
            seen.append(order)
            return "done"

        assert registry.get("orders").is_async
        assert asyncio.run(call({"number": 1})) == "done"
        assert isinstance(asyncio.run(call({})), WrongPayload)
        assert asyncio.run(orders(Order(number=2))) == "done"
        assert seen == [Order(number=1), Order(number=2)]


class TestSeveral:
    def test_each_payload_in_order(self, calls: Calls) -> None:
        assert calls.handle(s3_event("a", "b", "c"), envelope="s3") is None

        assert [record["s3"]["object"]["key"] for record in calls.payloads] == ["a", "b", "c"]

    def test_none_at_all(self, calls: Calls) -> None:
        assert calls.handle(S3_TEST_EVENT, envelope="s3") is None
        assert calls.payloads == []

    def test_all_are_checked_before_the_first_is_handled(self, calls: Calls) -> None:
        class Record(BaseModel):
            event: Literal["ObjectCreated:Put"] = Field(alias="eventName")

        body = s3_event("a", "b")
        body["Records"][1]["eventName"] = "ObjectRemoved:Delete"

        answer = calls.handle(body, envelope="s3", payload=Record)

        assert "record 2 of 2 does not fit Record: eventName: " in answer.reason
        assert calls.payloads == []

    @pytest.mark.parametrize("kind", ["sync", "async", "hidden"])
    def test_first_failure_ends_the_attempt_and_is_placed(self, kind: str) -> None:
        seen: list[str] = []

        def behave(record: dict[str, Any]) -> Any:
            seen.append(record["s3"]["object"]["key"])
            if len(seen) == 2:
                raise KeyError("two")
            return 3  # a value like any other

        async def behave_slowly(record: dict[str, Any]) -> Any:
            return behave(record)

        functions: dict[str, Any] = {
            "sync": behave,
            "async": behave_slowly,
            "hidden": lambda record: behave_slowly(record),
        }
        handler("orders", envelope="s3")(functions[kind])

        async def attempt() -> None:
            answer = call(s3_event("a", "b", "c"))
            assert kind != "sync"
            await answer

        with pytest.raises(KeyError) as caught:
            asyncio.run(attempt())

        assert seen == ["a", "b"]
        assert caught.value.__notes__ == ["record 2 of 3"]

    @pytest.mark.parametrize("raised", [True, False])
    @pytest.mark.parametrize("answer", [Reject("no picture"), Reject, Retry("later"), Unavailable("s3")])
    def test_outcomes_are_those_of_the_whole_message(self, answer: Any, raised: bool) -> None:
        seen = []

        @handler("orders", envelope="s3")
        def behave(record: dict[str, Any]) -> Any:
            seen.append(record)
            if raised:
                raise answer
            return answer

        try:
            found = call(s3_event("a", "b"))
        except (Reject, Retry, Unavailable) as error:
            found = error

        assert len(seen) == 1
        if isinstance(answer, Retry | Unavailable):
            assert found is answer
        else:
            assert found.reason == f"record 1 of 2: {answer.reason or 'rejected'}"
            assert getattr(answer, "reason", "") in ("no picture", ""), "the handler's own is not changed"


class TestInARun:
    def test_what_does_not_fit_goes_to_the_dead_letters_at_once(self) -> None:
        sqs = OneQueue('{"number": 1}', '{"number": "4111x"}')
        dead = sqs.create_queue("orders-dlq")
        seen: list[Order] = []

        @handler("under-test", payload=Order)
        def orders(order: Order) -> None:
            seen.append(order)

        report = MemoryRun(sqs, dlq_url=dead).start().report()

        assert seen == [Order(number=1)]
        assert (report.processed, report.failed, sqs.bodies) == (1, 1, [])
        (letter,) = sqs.receive(dead, limit=10)
        assert letter.body == '{"number": "4111x"}'
        assert letter.attributes["QueuesiteRejectReason"]["StringValue"].startswith(
            "the body does not fit Order: number: Input should be a valid integer"
        )

    def test_failure_names_the_record_and_has_the_handlers_place(self) -> None:
        sqs = OneQueue(json.dumps(s3_event("a", "b")))

        @handler("under-test", envelope="s3")
        def pictures(record: dict[str, Any]) -> None:
            if record["s3"]["object"]["key"] == "b":
                raise LookupError("no such album")

        run = MemoryRun(sqs)
        report = run.start().report()

        (failure,) = run.run.recorder.take()
        assert failure.message == "no such album (record 2 of 2)"
        assert failure.place.endswith("pictures")
        assert "queues/handlers/calling.py" not in failure.traceback.splitlines()[1]
        assert report.last_error == "LookupError: no such album (record 2 of 2)"

    def test_kind_of_a_wrong_payload_is_its_own(self) -> None:
        @handler("under-test", payload=Order)
        def orders(order: Order) -> None: ...

        run = MemoryRun(OneQueue("{}"))
        run.start().report()

        (failure,) = run.run.recorder.take()
        assert failure.exception_type == "queues.handlers.payloads.WrongPayload"
        assert failure.place == registry.get("under-test").path


def only_a_name() -> None: ...


class TestRefusedAtImport:
    @pytest.mark.parametrize(
        ("declared", "words"),
        [
            ({"payload": 3}, "payload=3: expected a type that pydantic takes"),
            ({"payload": "Order"}, "payload='Order': expected a type, not its name"),
            ({"payload": Order(number=1)}, "expected a type that pydantic takes"),
            ({"payload": object()}, "expected a type that pydantic takes"),
            ({"envelope": "sqs"}, "envelope='sqs': expected sns, s3, eventbridge, lambda, a function"),
            ({"envelope": ("sns", "s4")}, "envelope='s4': expected sns"),
            ({"envelope": ()}, r"envelope=\(\): expected sns"),
            ({"envelope": 3}, "envelope=3: expected sns"),
        ],
    )
    def test_what_is_declared(self, declared: dict[str, Any], words: str) -> None:
        def orders(order: Any) -> None: ...

        with pytest.raises(HandlerError, match=words) as caught:
            handler("orders", **declared)(orders)

        assert "@handler('orders') of " in str(caught.value)
        assert f"({__file__}:" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert registry.all_handlers() == {}

    def test_model_that_is_not_complete(self) -> None:
        class Half(BaseModel):
            other: NotThere  # type: ignore[name-defined]  # noqa: F821

        with pytest.raises(HandlerError, match="NotThere"):
            handler("orders", payload=Half)(lambda order: None)

    def test_async_envelope(self) -> None:
        async def slowly(message: Message) -> list[Any]:
            return []

        with pytest.raises(HandlerError, match="expected a plain function"):
            handler("orders", envelope=slowly)(lambda order: None)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("payload", "source", "words"),
        [
            (True, "def f(): ...", r"its parameters are \(\): expected the payload"),
            (True, "def f(a, b, c): ...", r"its parameters are \(a, b, c\): expected the payload"),
            (True, "def f(a, *, other): ...", "expected the payload"),
            (True, "def f(a: Message): ...", "a is annotated Message, but it gets the payload"),
            (True, "def f(a: Point): ...", "a is annotated Point, but payload=Order is declared"),
            (False, "def f(): ...", "without payload= or envelope= it is called with the message only"),
            (False, "def f(a, b): ...", "called with the message only"),
            (False, "def f(a, *, message): ...", "called with the message only"),
            (False, "def f(a: Order): ...", "annotated Order, but it gets a Message: declare payload=Order"),
            (False, "def f(a: 'Order'): ...", "declare payload=Order"),
        ],
    )
    def test_parameters(self, payload: bool, source: str, words: str) -> None:
        names: dict[str, Any] = {"Message": Message, "Order": Order, "Point": Point, "__name__": "shop"}
        exec(textwrap.dedent(source), names)

        with pytest.raises(HandlerError, match=words):
            handler("orders", payload=Order if payload else NOTHING)(names["f"])

    @pytest.mark.parametrize(
        "annotation", ["object", "Any", "'NotThere'", "Order | None", "BaseModel", "Message | Order"]
    )
    def test_annotations_that_may_be_right(self, annotation: str) -> None:
        names: dict[str, Any] = {"Message": Message, "Order": Order, "Any": Any, "BaseModel": BaseModel}
        exec(f"def f(a: {annotation}): ...", {**names, "__name__": "shop"}, names)

        handler("orders", payload=Order)(names["f"])


class TestBodies:
    @pytest.mark.parametrize(
        ("payload", "value", "body"),
        [
            (Order, Order(number=1), '{"number":1,"placed":null}'),
            (Order, {"number": "1"}, '{"number":1,"placed":null}'),
            (Point, Point(1, 2), '{"x":1,"y":2}'),
            (Strict, Strict(theDay=date(2026, 11, 26)), '{"theDay":"2026-11-26"}'),
            (list[Order], [Order(number=1)], '[{"number":1,"placed":null}]'),
            (str, "as it is", "as it is"),
        ],
    )
    def test_what_is_sent_can_be_read(self, payload: Any, value: object, body: str, calls: Calls) -> None:
        assert calls.handle(body, payload=payload) is None
        declared = registry.get("orders").payload
        assert declared is not None

        assert declared.body(value) == body

    def test_payload_that_does_not_fit(self) -> None:
        handler("orders", payload=Order)(lambda order: None)
        declared = registry.get("orders").payload
        assert declared is not None

        with pytest.raises(InvalidInput, match="the payload does not fit Order: number: Field required"):
            declared.body({})

    @pytest.mark.parametrize(("envelope", "sendable"), [("sns", True), ("s3", False), (("sns", "s3"), False)])
    def test_only_what_can_be_read_without_its_envelope_is_sent(self, envelope: Any, sendable: bool) -> None:
        handler("orders", envelope=envelope)(lambda order: None)
        declared = registry.get("orders").payload
        assert declared is not None

        if sendable:
            assert declared.body({"a": 1}) == '{"a":1}'
        else:
            with pytest.raises(InvalidInput, match=r"queues\.send\("):
                declared.body({"a": 1})

    def test_schema(self) -> None:
        handler("orders", payload=Order)(lambda order: None)
        handler("pictures", envelope="s3")(lambda record: None)

        orders, pictures = registry.get("orders").payload, registry.get("pictures").payload
        assert orders is not None
        assert pictures is not None
        assert (orders.schema() or {})["required"] == ["number"]
        assert pictures.schema() is None
