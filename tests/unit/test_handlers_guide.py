"""The examples of docs/handlers.md up to its outcomes: each block of Python runs, and each body is handled by the
handler above it."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import Any

import pytest

from queues.handlers import Message, registry
from queues.sending import Destination, carried_by
from queues.sending.transport import Delivery
from tests.support.processes import ROOT

# What follows is for test_handlers_guide_operation.py.
GUIDE = (ROOT / "docs" / "handlers.md").read_text().partition("\n## Outcomes\n")[0]
BLOCKS = re.findall(r"^```(python|json)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


class Sent:
    """Takes messages in place of SQS."""

    def __init__(self) -> None:
        self.bodies: list[tuple[Destination, str]] = []

    def send(self, to: Destination, items: Any) -> Delivery:
        delivery = Delivery()
        for place, item in items:
            self.bodies.append((to, item.body))
            delivery.sent += 1
            delivery.message_ids[place] = str(place)
        return delivery


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the reader's own project, which note their calls."""
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(registry, "_discovered", True)
    calls: list[tuple[Any, ...]] = []

    async def note(*arguments: Any) -> None:
        calls.append(("note", *arguments))

    def noting(name: str) -> Any:
        return lambda *arguments: calls.append((name, *arguments))

    return {
        "__name__": "reader",
        "calls": calls,
        "note": note,
        "ship": noting("ship"),
        "make_thumbnail": noting("make_thumbnail"),
        "print": noting("print"),
    }


@pytest.mark.django_db(transaction=True)
def test_every_example_runs_and_every_body_is_handled(reader: dict[str, Any]) -> None:
    sent, handled = Sent(), []
    name = ""
    with carried_by(sent):
        for language, text in BLOCKS:
            if language == "python":
                before = set(registry.registered())
                exec(compile(text, "docs/handlers.md", "exec"), reader)
                name = next(iter(set(registry.registered()) - before), "")
                continue
            assert name, f"no handler stands above {text[:60]}"
            reader["calls"].clear()
            answer = registry.get(name).call(Message("1", text, name))
            if inspect.iscoroutine(answer):
                answer = asyncio.run(answer)
            assert answer is None
            handled.append((name, [call[1:3] for call in reader["calls"]]))

    assert handled == [
        ("orders", [(1, "ann")]),
        ("published-orders", [(2, "bob")]),
        ("pictures", [("amzn-s3-demo-bucket", "Happy Face.jpg")]),
        ("announced-pictures", [("amzn-s3-demo-bucket", "a.jpg"), ("amzn-s3-demo-bucket", "b.jpg")]),
        ("instances", [("terminated",)]),
        ("results", [(3, "cid")]),
        ("export", [(4, "dee"), (5, "eve")]),
    ]
    assert [body for _, body in sent.bodies[:2]] == ['{"number":1,"customer":"ann"}', '{"number":2,"customer":"bob"}']
    assert len(sent.bodies) == 3 + 100 + 1
