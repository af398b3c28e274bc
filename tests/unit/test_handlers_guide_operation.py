"""The examples in docs/handlers.md of what surrounds a handler do what the page says."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
import structlog

from queues.handlers import Message, Reject
from queuesite.foundation.config import get_config
from queuesite.foundation.logs import bind, configure, log_message
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "handlers.md").read_text()


def examples(heading: str) -> list[str]:
    """The Python examples below a heading."""
    section = PAGE.split(f"\n{heading}\n", 1)[1]
    level = heading.partition(" ")[0]
    section = re.split(rf"^{level} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def run(example: str, **names: Any) -> dict[str, Any]:
    """What an example defines. `names` are those that it takes from the reader's own project."""
    found = {"__name__": "shop", **names}
    exec(compile(example, "docs/handlers.md", "exec"), found)
    return found


class TestMiddleware:
    def test_the_first_example_measures(self) -> None:
        timed, _ = examples("## Middleware")
        reported: list[tuple[str, float]] = []
        defined = run(timed, report_seconds=lambda *report: reported.append(report))

        layer = defined["timed"](lambda message: message.body)

        assert layer(Message(id="1", body="b", queue="orders")) == "b"
        [(queue, seconds)] = reported
        assert queue == "orders"
        assert seconds >= 0

    def test_the_second_takes_both(self) -> None:
        _, stale = examples("## Middleware")
        factory = run(stale)["reject_stale"]
        fresh = Message(id="1", body="b", queue="orders")
        old = Message(id="1", body="b", queue="orders", attributes={"deadline": "2023-05-05"})

        async def handle(message: Message) -> str:
            return message.body

        for call in (factory(lambda message: message.body), lambda message: asyncio.run(factory(handle)(message))):
            assert call(fresh) == "b"
            assert isinstance(call(old), Reject)
        assert (factory.sync_capable, factory.async_capable) == (True, True)


def test_logs_have_the_fields_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    [charge] = examples("## Logs")
    [shown] = re.findall(r"^```json\n(.*?)^```", PAGE.split("\n## Logs\n")[1], re.MULTILINE | re.DOTALL)
    configure("INFO", "json")
    bind(queue="orders", job_id="6746…")
    try:
        log_message("5fea…")
        run(charge)["charge"](Message(id="5fea…", body='{"number": 17}', queue="orders"))
    finally:
        log_message(None)
        structlog.contextvars.clear_contextvars()
        configure(get_config().log_level, get_config().log_format)

    line = json.loads(capsys.readouterr().err)
    del line["timestamp"]
    assert line == json.loads(shown.split("\n```")[0])
