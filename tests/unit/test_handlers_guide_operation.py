"""The examples in docs/handlers.md of what surrounds a handler do what the page says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
import structlog
from pydantic import BaseModel

import queues
from jobs.testing import sandbox
from queues.handlers import Message, MessageBatch, Reject, handler, registry
from queuesite.foundation.config import get_config
from queuesite.foundation.logs import bind, configure, log_message
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "handlers.md").read_text()


def examples(heading: str) -> list[str]:
    """The Python examples below a heading."""
    found = []
    for part in re.finditer(
        r"^```(\w*)\n(.*?)^```|^(#+) ", PAGE.partition(f"\n{heading}\n")[2], re.MULTILINE | re.DOTALL
    ):
        if part[3] and len(part[3]) <= len(heading.partition(" ")[0]):
            break
        if part[1] == "python":
            found.append(part[2])
    return found


def run(example: str, **names: Any) -> dict[str, Any]:
    """What an example defines. `names` are those that it takes from the reader's own project."""
    found = {"__name__": "shop", **names}
    exec(compile(example, "docs/handlers.md", "exec"), found)
    return found


class TestMiddleware:
    def test_the_first_example_measures(self) -> None:
        timed, *_ = examples("## Middleware")
        reported: list[tuple[str, float]] = []
        defined = run(timed, report_seconds=lambda *report: reported.append(report))

        layer = defined["timed"](lambda message: message.body)

        assert layer(Message(id="1", body="b", queue="orders")) == "b"
        [(queue, seconds)] = reported
        assert queue == "orders"
        assert seconds >= 0

    def test_the_second_takes_both(self) -> None:
        _, stale, *_ = examples("## Middleware")
        factory = run(stale)["reject_stale"]
        fresh = Message(id="1", body="b", queue="orders")
        old = Message(id="1", body="b", queue="orders", attributes={"deadline": "2023-05-05"})

        async def handle(message: Message) -> str:
            return message.body

        for call in (factory(lambda message: message.body), lambda message: asyncio.run(factory(handle)(message))):
            assert call(fresh) == "b"
            assert isinstance(call(old), Reject)
        assert (factory.sync_capable, factory.async_capable) == (True, True)

    def test_the_third_takes_batches(self) -> None:
        _, _, sizes = examples("## Middleware")[:3]
        reported: list[tuple[str, int]] = []
        factory = run(sizes, report_size=lambda *report: reported.append(report))["sized"]
        message = Message(id="1", body="b", queue="orders")

        factory(lambda given: None)(message)
        factory(lambda given: None)(MessageBatch([message] * 3))

        assert factory.batch_capable is True
        assert reported == [("orders", 1), ("orders", 3)]


def test_the_tests_on_the_page_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, page = examples("## Testing")[:2]
    assert run(plugin)["pytest_plugins"] == ["jobs.testing.plugin"]
    monkeypatch.setattr(registry, "_handlers", dict(registry.all_handlers()))

    class Order(BaseModel):
        number: int

    @handler("orders", payload=Order)
    def orders(order: Order) -> None:
        queues.send("mails", {"order": order.number}, delay=60)

    @handler("mails")
    def mails(message: Message) -> None:
        raise LookupError(message.body)

    defined = run(page, Order=Order, queues=queues)
    tests = [value for name, value in defined.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        with sandbox() as queue_sandbox:
            test(queue_sandbox)


class TestSetUps:
    """In programs of their own: OpenTelemetry and Sentry are set up once in a process."""

    def test_opentelemetry_exports_what_ended_before_the_end(self) -> None:
        [example] = examples("### OpenTelemetry")

        assert carry_out(example, "opentelemetry", "exporter") == [f"process {os.environ['QUEUE_NAME_PREFIX']}orders"]

    def test_sentry_sends_what_was_raised_before_the_end(self) -> None:
        [example] = examples("### Sentry")

        assert carry_out(example, "sentry", "dsn") == ["LookupError"]


def carry_out(example: str, name: str, own: str) -> list[str]:
    """What a consumer's process has sent at its end if an example's module is before `queues.middleware`'s `name`."""
    program = [sys.executable, "-m", "tests.support.set_up_program", name, own]
    environ = {**os.environ, "HANDLER_MIDDLEWARE": f"shop_set_up.set_up,queues.middleware.{name}"}
    ended = subprocess.run(program, input=example, text=True, env=environ, cwd=ROOT, capture_output=True, timeout=110)
    assert ended.returncode == 0, ended.stderr
    return [str(line) for line in json.loads(ended.stdout)]


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
