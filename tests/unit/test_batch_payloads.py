"""Handlers of batches that declare a payload or an envelope: what they get, and what becomes of what does not fit."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from jobs.testing import Sandbox, drain
from queues.handlers import Message, MessageBatch, Reject, Retry, handler, registry
from queues.handlers.payloads import NOTHING, WrongPayload
from queues.handlers.registry import HandlerError
from queues.sqs import OutgoingMessage
from tests.support.bodies import S3_TEST_EVENT, s3_event

pytestmark = pytest.mark.usefixtures("own_registry")


class Order(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def not_seven(cls, number: int) -> int:
        return number if number != 7 else [][number]  # a fault in the team's own code


class Point(BaseModel):
    x: int


def batch(*bodies: object) -> MessageBatch:
    return MessageBatch(
        Message(f"m{place}", body if isinstance(body, str) else json.dumps(body), "orders")
        for place, body in enumerate(bodies)
    )


def answer(messages: MessageBatch) -> Any:
    found = registry.get("orders").call(messages)
    return asyncio.run(found) if asyncio.iscoroutine(found) else found


@pytest.fixture(params=["sync", "async", "looks sync"])
def declare(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Registers the function as `orders`, as each kind of handler in turn."""

    def declare(function: Any, **options: Any) -> None:
        async def in_loop(payloads: Any, messages: Any) -> Any:
            await asyncio.sleep(0)
            return function(payloads, messages)

        made = {"sync": function, "async": in_loop, "looks sync": lambda a, b: in_loop(a, b)}[request.param]
        handler("orders", batch=10, **{"payload": Order, **options})(made)

    return declare


class TestCall:
    def test_payloads_and_their_messages_in_one_call(self, declare: Callable[..., None]) -> None:
        calls: list[Any] = []
        declare(lambda orders, messages: calls.append((orders, [message.id for message in messages])))

        assert answer(batch({"number": 1}, {"number": 2})) is None
        assert calls == [([Order(number=1), Order(number=2)], ["m0", "m1"])]

    def test_a_message_that_does_not_fit_is_rejected_alone(self, declare: Callable[..., None]) -> None:
        declare(lambda orders, messages: {messages[0].id: "not yet"})

        found = answer(batch({"number": "one"}, {"number": 2}, {"number": 7}, {"number": 4}))
        assert set(found) == {"m0", "m1", "m2"}
        assert isinstance(found["m0"], WrongPayload)
        assert "number: Input should be a valid integer" in found["m0"].reason
        assert "not yet" in str(found["m1"])
        assert isinstance(found["m2"], IndexError)

    def test_what_the_function_raises_is_for_those_that_fit(self, declare: Callable[..., None]) -> None:
        def fail(orders: list[Order], messages: list[Message]) -> None:
            raise KeyError("database")

        declare(fail)
        found = answer(batch({"number": 1}, "nonsense"))
        assert isinstance(found["m0"], KeyError)
        assert isinstance(found["m1"], WrongPayload)
        with pytest.raises(KeyError, match="database"):
            answer(batch({"number": 1}, {"number": 2}))

    @pytest.mark.parametrize("returned", [Retry(delay=9), Reject])
    def test_an_outcome_is_for_those_that_fit(self, declare: Callable[..., None], returned: Any) -> None:
        declare(lambda orders, messages: returned)

        found = answer(batch({"number": 1}, "nonsense"))
        assert found["m0"] is returned
        assert isinstance(found["m1"], WrongPayload)

    def test_an_answer_that_says_nothing_fails_those_that_fit(self, declare: Callable[..., None]) -> None:
        declare(lambda orders, messages: 5)

        found = answer(batch({"number": 1}, "nonsense"))
        assert "the handler returned 'int' for a batch" in str(found["m0"])
        assert isinstance(found["m1"], WrongPayload)

    def test_without_anything_that_fits_it_is_not_called(self, declare: Callable[..., None]) -> None:
        declare(lambda orders, messages: pytest.fail("called"))

        assert set(answer(batch("nonsense"))) == {"m0"}

    def test_records_of_an_envelope(self, declare: Callable[..., None]) -> None:
        calls: list[Any] = []
        declare(
            lambda records, messages: calls.append(
                [(record["s3"]["object"]["key"], message.id) for record, message in zip(records, messages, strict=True)]
            ),
            payload=NOTHING,
            envelope="s3",
        )

        found = answer(batch(s3_event("a", "b"), S3_TEST_EVENT, "nonsense", s3_event("c")))
        assert calls == [[("a", "m0"), ("b", "m0"), ("c", "m3")]]
        assert set(found) == {"m2"}

    def test_the_payloads_only(self) -> None:
        calls: list[Any] = []

        @handler("orders", payload=Order, batch=10)
        def orders(orders: list[Order]) -> None:
            calls.append(orders)

        answer(batch({"number": 1}))
        assert calls == [[Order(number=1)]]


def test_in_a_run(box: Sandbox) -> None:
    @handler("orders", payload=Order, batch=10)
    def orders(orders: list[Order], messages: Sequence[Message]) -> dict[str, str]:
        return {message.id: "odd" for order, message in zip(orders, messages, strict=True) if order.number % 2}

    bodies = ['{"number": 2}', '{"number": "x"}', '{"number": 3}', "nonsense", '{"number": 4}']
    box.sqs.send(box.queue("orders").queue_url, [OutgoingMessage(body) for body in bodies])
    drained = drain("orders")

    assert drained.processed == 2
    assert {letter.body: letter.receive_count for letter in drained.dead_letters}.keys() == {
        '{"number": "x"}',
        '{"number": 3}',
        "nonsense",
    }
    assert drained.failed == 2 + 5  # two were rejected at once, one was retried until its receives were used up
    reasons = [letter.attributes.get("QueuesiteRejectReason", {}).get("StringValue") for letter in drained.dead_letters]
    assert sum("does not fit Order" in reason for reason in reasons if reason) == 2


class TestRefusedAtImport:
    @pytest.mark.parametrize(
        ("payload", "source", "words"),
        [
            (True, "def f(a, b, c): ...", r"expected the payloads, and if wanted the messages, as in \(payloads, mess"),
            (True, "def f(a: Order): ...", r"payload=Order is declared, and it gets a list: annotate it list\[Order\]"),
            (True, "def f(a: list[Point]): ...", r"a is annotated list\[.*Point\], but payload=Order is declared"),
            (True, "def f(a: list[Message]): ...", r"but it gets the payloads; the messages are second"),
            (True, "def f(a: list[Order], b: Message): ...", "b is annotated Message, but it gets a list of messages"),
            (True, "def f(a, *, messages: str): ...", "messages is annotated str, but it gets a list of messages"),
            (False, "def f(a: Message): ...", r"a is annotated Message, but it gets a list of messages: declare"),
            (False, "def f(a: dict): ...", "a is annotated dict, but it gets a list of messages"),
            (False, "def f(a: list[Order]): ...", r"declare payload=Order, or annotate it list\[Message\]"),
        ],
    )
    def test_parameters(self, payload: bool, source: str, words: str) -> None:
        names: dict[str, Any] = {"Message": Message, "Order": Order, "Point": Point, "__name__": "shop"}
        exec(textwrap.dedent(source), names)

        with pytest.raises(HandlerError, match=words):
            handler("orders", payload=Order if payload else NOTHING, batch=10)(names["f"])

    @pytest.mark.parametrize(
        ("payload", "annotation"),
        [
            (False, "list"),
            (False, "list[Message]"),
            (False, "MessageBatch"),
            (False, "Sequence[Message]"),
            (False, "Message | MessageBatch"),
            (True, "list"),
            (True, "Sequence[BaseModel]"),
            (True, "list[Order | Point]"),
            (True, "list[Any]"),
        ],
    )
    def test_annotations_that_may_be_right(self, payload: bool, annotation: str) -> None:
        names: dict[str, Any] = {**globals(), "__name__": "shop"}
        exec(f"def f(a: {annotation}): ...", names, names)

        handler("orders", payload=Order if payload else NOTHING, batch=10)(names["f"])

    def test_a_list_without_a_batch(self) -> None:
        def orders(messages: list[Message]) -> None: ...

        with pytest.raises(HandlerError, match="it gets one Message: declare batch=, or annotate it Message"):
            handler("orders")(orders)
