"""`retry=` and `breaker=`: what comes of a handler's exceptions, and what is refused when a handler is registered."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jobs.consumer.outcome import GiveUp, Outcome, TryAgain, Unreachable, judge
from queues.handlers import Message, Reject, Retry, Unavailable, exponential, handler, registry
from queues.handlers.announcement import Announced
from queues.handlers.registry import HandlerError
from queues.handlers.retrying import Breaker, retry_policy


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of this test's own."""
    monkeypatch.setattr(registry, "_handlers", {})


class RateLimited(Exception):
    pass


class Slower(RateLimited):
    pass


POLICY = retry_policy(
    {
        TimeoutError: 30,
        OSError: 7,
        RateLimited: lambda receive_count: 10.0 * receive_count,
        KeyError: Reject,
        LookupError: Reject("no such order"),
        ConnectionError: Unavailable("stripe", retry_after=60),
        BrokenPipeError: Unavailable,
        ValueError: Retry,
        ArithmeticError: Retry("later", delay=5),
        RuntimeError: lambda receive_count: -1,
    }
)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TimeoutError("slow"), TryAgain(30, "TimeoutError: slow")),
        (FileNotFoundError("gone"), TryAgain(7, "FileNotFoundError: gone")),  # the nearest class decides
        (Slower(), TryAgain(30, "Slower")),
        (KeyError("id"), GiveUp("KeyError: 'id'")),
        (IndexError("none"), GiveUp("no such order (IndexError: none)")),
        (ConnectionResetError("x"), Unreachable("stripe is unavailable", 60)),
        (BrokenPipeError(), Unreachable("a dependency is unavailable")),
        (ZeroDivisionError("x"), TryAgain(5, "ZeroDivisionError: x")),
        (Reject("no"), GiveUp("no")),
        (Retry("asked", delay=9), TryAgain(9, "asked")),
        (Unavailable("bank", retry_after=0.5), Unreachable("bank is unavailable", 1)),
    ],
)
def test_what_comes_of_an_exception(error: Exception, outcome: Outcome) -> None:
    assert judge(None, error, 3, POLICY) == outcome


def test_an_exception_without_an_answer_is_retried_as_usual() -> None:
    outcome = judge(None, AttributeError("x"), 3, POLICY)
    assert isinstance(outcome, TryAgain)
    assert 1 <= outcome.delay <= 8
    asked_as_usual = judge(None, ValueError("x"), 3, POLICY)
    assert isinstance(asked_as_usual, TryAgain)
    assert 1 <= asked_as_usual.delay <= 8


def test_a_delay_that_sqs_does_not_take_is_an_error() -> None:
    with pytest.raises(ValueError, match="a retry's delay is -1: expected 0 to 43200 seconds"):
        judge(None, RuntimeError(), 3, POLICY)


def test_returned_answers_are_as_good_as_raised_ones() -> None:
    assert judge(Unavailable("bank"), None, 1) == judge(None, Unavailable("bank"), 1)
    assert judge(Unavailable, None, 1) == Unreachable("a dependency is unavailable")


def test_a_subclass_need_not_call_the_constructor() -> None:
    class Down(Unavailable):
        def __init__(self) -> None:
            pass

    assert judge(None, Down(), 1) == Unreachable("a dependency is unavailable")


def test_exponential_delays_double_up_to_their_cap() -> None:
    delays = exponential(2, cap=60)
    assert {delays(1) for _ in range(200)} <= {1, 2}
    assert max(delays(4) for _ in range(500)) <= 16
    assert 30 < max(delays(1_000) for _ in range(500)) <= 60


@pytest.mark.parametrize(("first", "cap"), [(0, 10), (-1, 10), (10, 5), (1, 50_000), (float("nan"), 5), ("2", 5)])
def test_exponential_refuses_what_makes_no_sense(first: Any, cap: Any) -> None:
    with pytest.raises(ValueError, match=r"expected seconds above 0, with cap at most 43200"):
        exponential(first, cap=cap)


@pytest.mark.parametrize("after", [-1, 43_201, float("nan")])
def test_unavailable_refuses_a_pause_that_makes_no_sense(after: float) -> None:
    with pytest.raises(ValueError, match=r"expected 0 to 43200 seconds"):
        Unavailable("stripe", retry_after=after)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"retry": 30}, r"retry=…\): expected a mapping of exception classes"),
        ({"retry": {}}, r"expected a mapping of exception classes"),
        ({"retry": {"KeyError": 30}}, r"'KeyError' is not an exception class"),
        ({"retry": {int: 30}}, r"is not an exception class"),
        ({"retry": {Retry: 30}}, r"Retry is an outcome already, which a handler raises itself"),
        ({"retry": {KeyError: -1}}, r"KeyError has -1: expected 0 to 43200 seconds"),
        ({"retry": {KeyError: True}}, r"KeyError has True: expected"),
        ({"retry": {KeyError: float("inf")}}, r"KeyError has inf: expected"),
        ({"retry": {KeyError: ValueError}}, r"KeyError has <class 'ValueError'>: expected"),
        ({"retry": {KeyError: "Reject"}}, r"KeyError has 'Reject': expected"),
        ({"batch": 0}, r"batch=0\): expected a whole number of messages from 1 to 1,000"),
        ({"batch": 1_001}, r"batch=1001\): expected"),
        ({"batch": True}, r"batch=True\): expected"),
        ({"batch": 2.5}, r"batch=2.5\): expected"),
        ({"linger": 1}, r"linger=1\): only a batch is gathered; add batch="),
        ({"batch": 10, "linger": -1}, r"linger=-1\): expected 0 to 60 seconds"),
        ({"batch": 10, "linger": 61}, r"linger=61\): expected"),
        ({"batch": 10, "linger": float("nan")}, r"linger=nan\): expected"),
        ({"batch": 10, "linger": "1"}, r"linger='1'\): expected"),
        ({"retry": {KeyError: lambda: 5}}, r"cannot be called with a receive count: too many positional arguments"),
        ({"timeout": "60"}, r"timeout='60'\): expected above 0"),
        ({"timeout": True}, r"timeout=True\): expected above 0"),
        ({"options": dict}, r"options=<class 'dict'>\): expected a class of pydantic's BaseModel"),
        ({"queue": 5}, r"queue=5\): expected a queue's name or URL"),
        ({"queue": "no such name"}, r"queue='no such name'\): queue name 'no such name' is not valid"),
        ({"breaker": 20}, r"breaker=…\): expected \{\"failures\": 20, \"within\": 60\}"),
        ({"breaker": {"failures": 20}}, r"both of them and nothing else"),
        ({"breaker": {"failures": 20, "within": 60, "more": 1}}, r"both of them and nothing else"),
        ({"breaker": {"failures": 0, "within": 60}}, r"failures is 0: expected a whole number from 1 to 10,000"),
        ({"breaker": {"failures": True, "within": 60}}, r"failures is True"),
        ({"breaker": {"failures": 2.5, "within": 60}}, r"failures is 2.5"),
        ({"breaker": {"failures": 20, "within": 0}}, r"within is 0: expected seconds above 0 and at most 3,600"),
        ({"breaker": {"failures": 20, "within": 3_601}}, r"within is 3601"),
        ({"breaker": {"failures": 20, "within": "60"}}, r"within is '60'"),
    ],
)
def test_what_makes_no_sense_is_refused_at_import(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(HandlerError, match=words) as raised:
        handler("orders", **arguments)
    assert "@handler('orders', " in str(raised.value)


def test_a_handler_keeps_what_it_was_given() -> None:
    @handler(
        "orders", retry={KeyError: Reject, OSError: exponential(2, cap=600)}, breaker={"failures": 20, "within": 60}
    )
    def orders(message: Message) -> None:
        pass

    found = registry.registered()["orders"]
    assert found.breaker == Breaker(20, 60.0)
    assert found.retry is not None
    assert found.retry.answer(KeyError(), 1) is Reject


def test_rules_in_words() -> None:
    def backoff(receive_count: int) -> float:
        return 5.0

    found = retry_policy(
        {
            TimeoutError: 30,
            OSError: exponential(2, cap=600),
            KeyError: Reject,
            ConnectionError: Unavailable("stripe"),
            ValueError: backoff,
        }
    )
    assert found is not None
    assert found.rules == (
        "TimeoutError: again after 30 s",
        "OSError: again after up to 2 s, doubling up to 600 s",
        "KeyError: Reject",
        "ConnectionError: Unavailable (stripe)",
        "ValueError: again as test_rules_in_words.<locals>.backoff says",
    )
    handler("orders", retry={TimeoutError: 30}, batch=5, linger=1, breaker={"failures": 3, "within": 9})(print)
    announced = Announced.of(registry.registered()["orders"], "1")
    assert Announced.from_document(announced.as_document()) == announced
    assert (announced.batch, announced.linger, announced.retry) == (5, 1.0, ("TimeoutError: again after 30 s",))
    assert announced.breaker == Breaker(3, 9.0)


def test_a_refusal_names_the_place() -> None:
    with pytest.raises(HandlerError, match=rf"\({re.escape(__file__)}:\d+\)$"):
        handler("orders", batch=0)
    with pytest.raises(HandlerError, match=rf"\({re.escape(__file__)}:\d+\)$"):
        handler("orders", timeout=0)
