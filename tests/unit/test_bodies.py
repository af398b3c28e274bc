"""Bodies under ASGI end at their limit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from queuesite import bodies
from queuesite.bodies import BoundedBodies
from tests.conftest import Configure


async def reader(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the whole body, as Django does, and answers its length."""
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


def ask(chunks: int, size: int = 1 << 20, kind: str = "http") -> tuple[list[dict[str, Any]], int]:
    """What is sent back, and how many chunks were taken."""
    taken = 0
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * size, "more_body": taken < chunks}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(BoundedBodies(reader)({"type": kind}, receive, send))
    return sent, taken


@pytest.fixture(autouse=True)
def two(configure: Configure) -> None:
    configure(api_max_body_mb=2)


def test_body_within_its_limit() -> None:
    sent, _ = ask(2)

    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b"2097152"


def test_longer_body_is_refused_once_it_is_over() -> None:
    sent, taken = ask(10)

    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["type"] == "urn:queuesite:problem:too-large"
    assert taken == 10


def test_endless_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DROPPED", 3 << 20)

    sent, taken = ask(1_000_000)

    assert sent[0]["status"] == 413
    assert taken == 6


def test_what_is_no_request_passes() -> None:
    assert ask(3, kind="lifespan")[0][0]["status"] == 200
