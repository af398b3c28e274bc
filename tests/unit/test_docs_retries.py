"""The examples of docs/handlers.md about what went wrong, what is down, and batches do what the page says."""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from jobs.consumer.outcome import GiveUp, Outcome, TryAgain, Unreachable, judge
from queues.handlers import Message, MessageBatch, registry
from queues.handlers.batching import Batch
from queues.handlers.registry import Handler
from queues.handlers.retrying import Breaker
from queuesite.foundation.config import BASE_DIR


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of this test's own."""
    monkeypatch.setattr(registry, "_handlers", {})


def example(name: str, **defined: Any) -> tuple[Handler, dict[str, Any]]:
    """The handler of this name that the page defines, and the names of its example; `defined` are those it lacks."""
    page = (BASE_DIR / "docs" / "handlers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (code,) = (block for block in blocks if re.search(rf'^@?handler\(\s*"{name}"', block, re.MULTILINE))
    names = dict(defined)
    exec(compile(code, f"docs/handlers.md ({name})", "exec"), names)
    return registry.registered()[name], names


def outcome(found: Handler, body: str = "{}", receive_count: int = 1) -> Outcome:
    try:
        return judge(found.function(Message("id", body, "orders")), None, receive_count, found.retry)
    except Exception as error:
        return judge(None, error, receive_count, found.retry)


def raising(error: BaseException) -> Any:
    def act(*_: Any) -> None:
        raise error

    return act


def test_retries_by_what_went_wrong() -> None:
    found, names = example("charge", call_stripe=lambda customer, amount: None)
    body = '{"customer": 1, "amount": 5}'
    assert outcome(found, "{}") == GiveUp("KeyError: 'customer'")
    names["call_stripe"] = raising(TimeoutError("slow"))
    assert outcome(found, body) == TryAgain(30, "TimeoutError: slow")
    names["call_stripe"] = raising(names["RateLimited"]("429"))
    limited = [outcome(found, body, receive_count=20) for _ in range(100)]
    assert all(isinstance(one, TryAgain) and one.delay <= 600 for one in limited)
    names["call_stripe"] = raising(ConnectionRefusedError())
    assert outcome(found, body) == Unreachable("stripe is unavailable")


def test_what_is_down() -> None:
    found, _ = example("refund", post_to_stripe=lambda order: SimpleNamespace(status=503))
    assert outcome(found) == Unreachable("stripe is unavailable", 60)
    assert example("invoice")[0].breaker == Breaker(20, 60.0)


def test_batches() -> None:
    found, _ = example("events", write_rows=lambda rows: {1: "too long"})
    assert found.batch == Batch(100, 1.0)
    messages = [Message(f"id{number}", "{}", "events") for number in range(3)]
    (failed,) = found.function(messages).items()
    assert (failed[0], str(failed[1])) == ("id1", "too long")


def test_batches_of_payloads() -> None:
    found, _ = example("typed-events", count=lambda kind: kind == "click")
    bodies = ['{"kind": "click"}', '{"kind": "odd"}', "{}"]
    failed = found.call(MessageBatch(Message(f"id{number}", body, "events") for number, body in enumerate(bodies)))
    assert str(failed["id1"]) == "unknown kind"
    assert failed["id2"].reason == "the body does not fit Event: kind: Field required"
    assert len(failed) == 2


def test_from_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    module = ModuleType("my_function")
    module.lambda_handler = lambda event, context: events.append(event)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_function", module)
    found, _ = example("uploads")
    assert (found.batch, found.timeout) == (Batch(10), 60)
    assert found.function([Message("id", "{}", "orders")]) is None
    assert events[0]["Records"][0]["messageId"] == "id"
